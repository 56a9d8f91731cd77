package doctor

import (
	"slices"

	"gitlab.com/skerry/skerry/internal/cli/doctor/finding"
	"gitlab.com/skerry/skerry/internal/cli/doctor/host"
	"gitlab.com/skerry/skerry/internal/cli/doctor/peer"
	"gitlab.com/skerry/skerry/internal/config"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
)

// Sizes in bytes.
const (
	mebibyte = 1 << 20
	gibibyte = 1 << 30
)

// ofEngine are the checks for an engine: of itself, of what it needs of the machine, and of what its jobs need of it.
func (s *session) ofEngine(e *engine) (checks []finding.Check) {
	f := e.Facts()
	a, known := account(f.UID)
	reached := f.Version != ""
	rootless := reached && f.Rootless || !reached && f.Local && f.UID != 0 || f.Found.Host == "" && s.program.UID != 0
	elsewhere := reached && !f.Local || f.UID == 0 // over the network, or through a socket that somebody has mounted here
	switch {
	case rootless && elsewhere:
	case rootless && known:
		checks = append(checks, s.ofRootless(e, a)...)
	case reached && f.Local && e.usesNetwork():
		checks = append(checks, host.IPForward(s.machine))
	}
	if reached {
		checks = append(checks, peer.Storage(e.Engine, a))
		if f.Kind == engineapi.Podman && f.Local && f.Found.Host != "" && (!rootless || !elsewhere) {
			checks = append(checks, peer.Locks(e.Engine, a))
		}
		if f.Local {
			checks = append(checks, host.Disk(s.machine, host.Space{
				About: "the engine's storage", Path: f.Dir, Fail: gibibyte, Warn: 5 * gibibyte, Mend: s.prune(f, a),
				Advice: "disk_budget in [runners.docker] has the runner do it",
			}))
		}
	}
	if s.machine.Enforcing() && f.Local {
		checks = append(checks, host.SELinux(s.machine, e.volumes()))
	}
	checks = append(checks, s.ofNested(e, rootless)...)
	if reached {
		checks = append(checks, peer.Builders(e.Engine, e.rights()))
	}
	for _, registry := range peer.Registries(e.images()) {
		checks = append(checks, peer.Registry(registry, e.Trust(a, rootless)))
	}
	for _, r := range e.runners {
		if r.Nix.Enabled() && r.Nix.Store == config.NixShared && r.Nix.Image == config.DefaultNixImage {
			checks = append(checks, peer.NixImage(e.Engine, s.program.Name, r.Nix.Image))
		}
	}
	return checks
}

// ofNested are what engines of jobs need, of this one and of the machine.
func (s *session) ofNested(e *engine, rootless bool) (checks []finding.Check) {
	images := e.nested()
	if len(images) == 0 {
		return nil
	}
	for _, i := range images {
		checks = append(checks, peer.Nested(e.Engine, s.program.Name, i, config.DefaultNestedImage))
	}
	if f := e.Facts(); f.Version == "" || !f.Local {
		return checks
	}
	checks = append(checks, host.UserNamespaces(s.machine))
	checks = append(checks, s.ofNestedDisk(e)...)
	if !rootless { // else it is checked with what the engine needs
		checks = append(checks, host.NestedTun(s.machine))
	}
	return checks
}

// ofRootless are what a rootless engine needs of the machine.
func (s *session) ofRootless(e *engine, a host.Account) []finding.Check {
	m, nested := s.machine, len(e.nested()) > 0
	checks := []finding.Check{host.SubUID(m, a, nested), host.SubGID(m, a, nested), host.NewUIDMap(m), host.NewGIDMap(m)}
	if m.Systemd() {
		checks = append(checks, host.Linger(m, a, finding.Failure))
	}
	if wanted := e.controllers(); m.Systemd() || len(wanted) > 1 {
		checks = append(checks, host.Cgroup(m, a, wanted))
	}
	switch {
	case nested:
		checks = append(checks, host.NestedTun(m))
	case e.usesNetwork():
		checks = append(checks, host.Tun(m, a))
	}
	if m.NeedsFuse(a) {
		checks = append(checks, host.Fuse(m, a))
	}
	return checks
}

// ofHost are the checks that no engine is needed for.
func (s *session) ofHost() (checks []finding.Check) {
	if s.loaded == nil {
		return nil
	}
	checks = append(checks, host.Disk(s.machine, host.Space{
		About: "the runner's state", Path: s.stateDir(), Fail: 64 * mebibyte, Warn: 512 * mebibyte, Advice: "remove what is not needed there, or set state_dir to a directory of another disk",
	}))
	for _, r := range s.runners {
		if r.Executor != "shell" {
			continue
		}
		if a, known := account(s.program.UID); known && a.UID != 0 && s.machine.Systemd() {
			checks = append(checks, host.Linger(s.machine, a, finding.Warning)) // they run, as a service of the machine too, and end with the runner
		}
		for _, dir := range []struct{ about, path string }{{"builds", r.BuildsDir}, {"caches", r.CacheDir}} {
			if dir.path != "" {
				checks = append(checks, host.Disk(s.machine, host.Space{
					About: dir.about, Path: dir.path, Fail: gibibyte / 2, Warn: 5 * gibibyte, Advice: "remove what is not needed there",
				}))
			}
		}
	}
	for _, r := range s.runners {
		if r.Nix.Enabled() && r.Nix.Store == config.NixHost {
			checks = append(checks, peer.NixHost(s.machine, r.Nix.HostSocket))
		}
	}
	return checks
}

// prune removes images without a name, which nothing uses.
func (s *session) prune(f peer.Facts, a host.Account) []finding.Command {
	argv := []string{string(f.Kind)}
	if address := f.Found.Host; address != "" {
		option := map[engineapi.Kind]string{engineapi.Docker: "--host", engineapi.Podman: "--url"}[f.Kind]
		argv = append(argv, option, address)
	}
	argv = append(argv, "image", "prune", "--force")
	if f.Rootless {
		return []finding.Command{s.machine.As(a, argv...)}
	}
	return []finding.Command{s.machine.AsRoot(argv...)}
}

// usesNetwork reports whether jobs have a network of their own.
func (e *engine) usesNetwork() bool {
	return slices.ContainsFunc(e.runners, func(r *config.Runner) bool {
		mode := dockerOf(r).NetworkMode
		return mode != "host" && mode != "none"
	})
}

// nested are the images of the engines that jobs of the entries have.
func (e *engine) nested() (images []string) {
	for _, r := range e.runners {
		if d := dockerOf(r); d.Nests() && !slices.Contains(images, d.NestedImage) {
			images = append(images, d.NestedImage)
		}
	}
	return images
}

// controllers are those that the entries' limits need; the number of processes is always limited.
func (e *engine) controllers() []string {
	wanted := []string{"pids"}
	add := func(name string, set bool) {
		if set && !slices.Contains(wanted, name) {
			wanted = append(wanted, name)
		}
	}
	for _, r := range e.runners {
		d := dockerOf(r)
		add("memory", d.Memory != "" || d.MemorySwap != "" || d.MemoryReservation != "" || d.ServiceMemory != "")
		add("cpu", d.CPUs != "" || d.CPUShares != 0 || d.ServiceCPUs != "")
		add("cpuset", d.CPUSetCPUs != "" || d.CPUSetMems != "")
	}
	return wanted
}

func (e *engine) volumes() (all []string) {
	for _, r := range e.runners {
		if !slices.ContainsFunc(dockerOf(r).SecurityOpt, func(o string) bool { return o == "label=disable" || o == "label:disable" }) {
			all = append(all, dockerOf(r).Volumes...)
		}
	}
	return all
}

// rights are what the entries let jobs do.
func (e *engine) rights() (all []peer.Rights) {
	for _, r := range e.runners {
		d := dockerOf(r)
		all = append(all, peer.Rights{Privileged: d.Privileged, SecurityOpt: d.SecurityOpt, CapDrop: d.CapDrop})
	}
	return all
}

// images are those that the configuration names and that may be pulled.
func (e *engine) images() (all []string) {
	for _, r := range e.runners {
		d := dockerOf(r)
		if len(d.PullPolicy) > 0 && !slices.ContainsFunc(d.PullPolicy, func(p string) bool { return p != "never" }) {
			continue
		}
		for _, i := range []string{d.Image, d.HelperImage} {
			if i != "" {
				all = append(all, i)
			}
		}
		for _, service := range d.Services {
			all = append(all, service.Name)
		}
	}
	return all
}
