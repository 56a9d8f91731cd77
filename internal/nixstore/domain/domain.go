// Package domain says which jobs share a Nix store: from the trust that the configuration gives and from what
// is known of a job follows the trust domain that it belongs to. It is pure, so that every process comes to
// the same names for the same job.
package domain

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
)

// Trust says how far the jobs of an installation trust each other, from the most to the least.
type Trust string

// The trusts, as the configuration names them.
const (
	All       Trust = "all"       // every entry with this trust
	Runner    Trust = "runner"    // the jobs of one entry
	Protected Trust = "protected" // of one entry, protected refs apart from the rest
	Project   Trust = "project"   // of one project on one entry, protected refs apart from the rest
	Job       Trust = "job"       // nobody
)

// Subject is what is known of a job. Its zero values are the least that may be assumed: a job of which it is not known
// whether its ref is protected counts as unprotected.
type Subject struct {
	Owner     string // the installation; safe in names of engines
	Scope     string // the runner entry among the installation's
	Project   int64  // in the coordinator that Scope belongs to
	Protected bool
	Ref       string // of the job's environment, never used twice
}

// Domain is one trust domain. Two are the same if and only if their names are.
type Domain struct {
	// Name is made of a-z, 0-9 and -, begins with a letter, has at most 50 characters more than the owner, and is
	// meant as the beginning of the names of all that an engine has for the domain.
	Name string
	// Trust is what it was made for.
	Trust Trust
	// Protected reports that only jobs of protected refs belong to it.
	Protected bool
	// Subject is what all of its jobs have in common, the rest zero.
	Subject Subject
}

// Of returns the trust domain of a job. The error tells of a trust that is not known, or of something that it
// needs and the job does not have: such a job must not get a store.
func Of(t Trust, s Subject) (Domain, error) {
	common := Subject{Owner: s.Owner}
	switch t {
	case All:
	case Runner:
		common.Scope = s.Scope
	case Protected:
		common.Scope, common.Protected = s.Scope, s.Protected
	case Project:
		common.Scope, common.Project, common.Protected = s.Scope, s.Project, s.Protected
	case Job:
		common = s
	default:
		return Domain{}, fmt.Errorf("the trust %q is none of %s, %s, %s, %s, %s", t, All, Runner, Protected, Project, Job)
	}
	for _, needed := range []struct {
		what    string
		missing bool
	}{
		{"owner", s.Owner == ""},
		{"runner entry", t != All && s.Scope == ""},
		{"project", (t == Project || t == Job) && s.Project == 0},
		{"ref", t == Job && s.Ref == ""},
	} {
		if needed.missing {
			return Domain{}, fmt.Errorf("the trust domain of a job with trust %q cannot be told: its %s is not known", t, needed.what)
		}
	}
	return Domain{Name: name(t, common), Trust: t, Protected: common.Protected, Subject: common}, nil
}

// name is a hash of everything, with the parts' lengths, so that no two subjects can be read as each other.
func name(t Trust, s Subject) string {
	h := sha256.New()
	write := func(text string) {
		_ = binary.Write(h, binary.BigEndian, int64(len(text)))
		h.Write([]byte(text))
	}
	write(string(t))
	write(s.Owner)
	write(s.Scope)
	write(s.Ref)
	_ = binary.Write(h, binary.BigEndian, s.Project)
	_ = binary.Write(h, binary.BigEndian, s.Protected)
	kind := string(t)
	switch {
	case s.Protected:
		kind += "-closed"
	case t == Protected || t == Project || t == Job:
		kind += "-open"
	}
	const enough = 10 // bytes: nobody chooses so many refs and projects
	return "skerry-" + s.Owner + "-nix-" + kind + "-" + hex.EncodeToString(h.Sum(nil)[:enough])
}

// String names the domain for people: "project 42, protected refs".
func (d Domain) String() string {
	refs := "other refs"
	if d.Protected {
		refs = "protected refs"
	}
	switch d.Trust {
	case All:
		return "all runners"
	case Runner:
		return "the runner"
	case Protected:
		return "the runner, " + refs
	case Project:
		return fmt.Sprintf("project %d, %s", d.Subject.Project, refs)
	default:
		return "the job " + d.Subject.Ref
	}
}
