package config

import (
	"path"
	"strings"

	"gitlab.com/skerry/skerry/internal/config/schema"
	"gitlab.com/skerry/skerry/internal/dockeropt"
)

func (k *Docker) nestedDefaults() {
	for _, s := range []struct {
		value     *string
		otherwise string
	}{
		{&k.Nested, NestedOff}, {&k.NestedFor, NestedForAll}, {&k.NestedImage, DefaultNestedImage}, {&k.NestedImages, NestedImagesOff}, {&k.NestedDisk, DefaultNestedDisk},
	} {
		if *s.value == "" {
			*s.value = s.otherwise
		}
	}
}

// Nests reports whether jobs have container engines, of their own or one together: with one together a job may ask for its own.
func (k *Docker) Nests() bool { return k.Nested == NestedPodman || k.Nested == NestedShared }

// validateNested checks what jobs are given for containers of their own.
func (k *Docker) validateNested(no, warn report, at string) {
	oneOf(no, schema.Join(at, "nested"), k.Nested, NestedOff, NestedPodman, NestedShared)
	oneOf(no, schema.Join(at, "nested_for"), k.NestedFor, NestedForAll, NestedForAsking)
	if k.NestedDisk != "" {
		_, err := ParseNestedDisk(k.NestedDisk)
		say(no, schema.Join(at, "nested_disk"), err)
		if !k.Nests() {
			warn(schema.Join(at, "nested_disk"), "has no effect without nested = %q", NestedPodman)
		}
	}
	oneOf(no, schema.Join(at, "nested_images"), k.NestedImages, NestedImagesOff, "all", "runner", "protected", "project")
	if k.NestedImages != "" && k.NestedImages != NestedImagesOff && k.Nested != NestedPodman {
		warn(schema.Join(at, "nested_images"), "has no effect without nested = %q", NestedPodman)
	}
	if k.Nested == NestedPodman && k.NetworkMode != "" {
		no(schema.Join(at, "network_mode"), "does not go with nested = %q, whose containers are reached on the job's own network: leave network_mode out", k.Nested)
	}
	if k.Nested == NestedShared {
		warn(schema.Join(at, "nested"), "gives all jobs of this runner one container engine: each can see, stop and mount into the containers of the others, and reach their networks; "+
			"set it to %q for an engine each", NestedPodman)
	}
	if !k.Nests() {
		return
	}
	k.refuseEnginePrograms(no, at)
	if k.User != "" || len(k.AllowedUsers) > 0 {
		k.warnOfNestedUsers(warn, at)
	}
}

// refuseEnginePrograms refuses what the executor would, where no variable of a job decides it.
func (k *Docker) refuseEnginePrograms(no report, at string) {
	for i, text := range k.Volumes {
		v, err := dockeropt.ParseVolume(text)
		if err == nil && !strings.Contains(v.Path, "$") && dockeropt.HoldsPrograms(path.Clean(v.Path)) && !dockeropt.ReadOnly(v.Mode) {
			no(schema.Element(schema.Join(at, "volumes"), i), "does not go with nested = %q: jobs can write to %s, where the program of a job's own engine has its own files; mount it elsewhere, or as ro", k.Nested, v.Path)
		}
	}
}

// warnOfNestedUsers tells that what keeps a job from being some user does not keep containers of its own engine from it.
func (k *Docker) warnOfNestedUsers(warn report, at string) {
	for i, text := range k.Volumes {
		if v, err := dockeropt.ParseVolume(text); err == nil && path.IsAbs(v.Source) {
			warn(schema.Element(schema.Join(at, "volumes"), i), "is open to every user but root by nested = %q, whatever user and allowed_users say: "+
				"containers of a job's engine run as any user from 1 to 65535; leave it out, or set nested to %q", k.Nested, NestedOff)
		}
	}
}
