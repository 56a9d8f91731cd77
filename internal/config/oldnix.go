package config

import (
	"path"
	"strings"

	"gitlab.com/skerry/skerry/internal/config/schema"
	"gitlab.com/skerry/skerry/internal/dockeropt"
)

// nixSocketDir is where a Nix daemon has its socket, on the host and in containers.
const nixSocketDir = "/nix/var/nix/daemon-socket"

// warnOfNixDaemons tells what the old ways of giving jobs a Nix daemon mean. What cannot be recognised by its name is
// not warned of.
func (k *Docker) warnOfNixDaemons(warn report, at string) {
	for i, text := range k.Volumes {
		if v, err := dockeropt.ParseVolume(text); err == nil && givesNixSocket(v) {
			warn(schema.Element(schema.Join(at, "volumes"), i), "gives jobs the socket of a Nix daemon: root in a job is a user whom that daemon trusts, "+
				"and so as good as root over its store, also for other jobs, and jobs can collect each other's paths; "+
				"remove what is mounted of /nix and write store = %q in [runners.nix], which trusts no job", NixHost)
		}
	}
	for i, text := range k.VolumesFrom {
		if name, _, _ := strings.Cut(text, ":"); namesNix(name) {
			warn(schema.Element(schema.Join(at, "volumes_from"), i), "seems to give jobs the socket of a Nix daemon in container %s: root in a job is a user whom that daemon trusts, "+
				"and so as good as root over its store, also for other jobs, and jobs can collect each other's paths; "+
				"remove it and write store = %q in [runners.nix], which keeps a daemon that trusts no job", name, NixShared)
		}
	}
}

// givesNixSocket reports whether a volume holds a daemon's socket, as far as names tell.
func givesNixSocket(v dockeropt.Volume) bool {
	if v.Source == "" {
		return false
	}
	source, p := path.Clean(v.Source), path.Clean(v.Path)
	if strings.Contains(source, "daemon-socket") || dockeropt.Within(p, nixSocketDir) {
		return true
	}
	return path.IsAbs(source) && source != "/nix/store" && dockeropt.Within(nixSocketDir, source)
}

// namesNix reports whether a container's name speaks of Nix.
func namesNix(name string) bool {
	name = strings.ToLower(name)
	for _, other := range []string{"phoenix", "unix"} {
		name = strings.ReplaceAll(name, other, "")
	}
	return strings.Contains(name, "nix")
}

// validateBesideNix refuses volumes where [runners.nix] puts the store and the gateway.
func (k *Docker) validateBesideNix(no report, at string) {
	for i, text := range k.Volumes {
		v, err := dockeropt.ParseVolume(text)
		if err != nil {
			continue // said already
		}
		if p := path.Clean(v.Path); p == "/nix" || dockeropt.Within(p, "/nix/store") || dockeropt.Within(p, "/nix/var/nix") {
			no(schema.Element(schema.Join(at, "volumes"), i), "%q is where the jobs of this runner have the store of [runners.nix]: remove one of them", text)
		}
	}
}

// warnOfWaysAround tells what lets jobs at the daemon of [runners.nix] past its gateway.
func (k *Docker) warnOfWaysAround(warn report, at string) {
	const so = "root in a job reaches the store of [runners.nix] and its daemon past the gateway, and so other jobs' paths"
	if k.Privileged {
		warn(schema.Join(at, "privileged"), "is true: "+so+"; set it to false, or give privileged jobs an entry of their own without a store")
	}
	for i, text := range k.Volumes {
		v, err := dockeropt.ParseVolume(text)
		if base := path.Base(v.Source); err == nil && (base == "docker.sock" || base == "podman.sock") {
			warn(schema.Element(schema.Join(at, "volumes"), i), "gives jobs a container engine: if it is the one that has the store, "+so)
		}
	}
}
