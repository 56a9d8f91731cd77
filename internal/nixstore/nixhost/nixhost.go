// Package nixhost finds what the Nix of the machine itself has for jobs. The machine's profiles change while the runner
// runs: look for each job.
package nixhost

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// StoreDir is where Nix has its store, on the machine and in jobs.
const StoreDir = "/nix/store"

// Offer is what jobs can be given of the machine's store.
type Offer struct {
	Tools string // the directory of Nix's programs in the store; empty: see Why
	Certs string // a file of certificates in the store; empty: none
	Why   string // there are no Tools, for people
}

// Places are where to look.
type Places struct {
	// Store is the directory that jobs see as StoreDir; empty: StoreDir itself. Links are followed in what this
	// process sees, and have to lead into Store.
	Store    string
	Programs []string // names of Nix's program, the first that is there counts
	Certs    []string // names of files of certificates
}

// Usual are the places of NixOS, of Nix's installers and of path, a PATH, in this order.
func Usual(path string) Places {
	p := Places{
		Programs: []string{"/run/current-system/sw/bin/nix", "/nix/var/nix/profiles/default/bin/nix"},
		Certs:    []string{"/etc/ssl/certs/ca-certificates.crt", "/nix/var/nix/profiles/default/etc/ssl/certs/ca-bundle.crt", "/etc/ssl/certs/ca-bundle.crt"},
	}
	for _, dir := range filepath.SplitList(path) {
		if filepath.IsAbs(dir) {
			p.Programs = append(p.Programs, filepath.Join(dir, "nix"))
		}
	}
	return p
}

// Find looks for what there is. A program that does not lie in the store, as one of a distribution's package, is of no
// use to jobs.
func Find(p Places) Offer {
	var o Offer
	elsewhere := ""
	for _, program := range p.Programs {
		real, err := p.inStore(program)
		var outside *outsideError
		if errors.As(err, &outside) && elsewhere == "" {
			elsewhere = outside.path
		}
		if err == nil {
			o.Tools = filepath.Dir(real)
			break
		}
	}
	for _, file := range p.Certs {
		if real, err := p.inStore(file); err == nil {
			o.Certs = real
			break
		}
	}
	switch {
	case o.Tools != "":
	case elsewhere != "":
		o.Why = fmt.Sprintf("the machine's Nix, %s, does not lie in its store: install it into the store, for example with `nix profile install nixpkgs#nix --profile /nix/var/nix/profiles/default` as root", elsewhere)
	default:
		o.Why = "the machine has no Nix in " + strings.Join(p.Programs, ", ")
	}
	return o
}

// outsideError is that a file is there, but not in the store.
type outsideError struct{ path string }

func (e *outsideError) Error() string { return e.path + " does not lie in the store" }

// inStore is where name leads to, as jobs see it.
func (p Places) inStore(name string) (string, error) {
	real, err := filepath.EvalSymlinks(name)
	if err != nil {
		return "", err
	}
	if i, err := os.Stat(real); err != nil || !i.Mode().IsRegular() {
		return "", errors.Join(fs.ErrNotExist, err)
	}
	store := p.Store
	if store == "" {
		store = StoreDir
	}
	if store, err = filepath.EvalSymlinks(store); err != nil {
		return "", &outsideError{real}
	}
	rest, ok := strings.CutPrefix(real, store+"/")
	if !ok {
		return "", &outsideError{real}
	}
	return filepath.Join(StoreDir, rest), nil
}
