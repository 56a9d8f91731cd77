package container

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/mount"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/container/carrier"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
	"gitlab.com/skerry/skerry/internal/nixstore/domain"
	"gitlab.com/skerry/skerry/internal/nixstore/gateway"
	"gitlab.com/skerry/skerry/internal/nixstore/nixjob"
)

// hostStore is a store with a program and certificates.
func hostStore(t *testing.T) (store, program string) {
	t.Helper()
	store = filepath.Join(t.TempDir(), "store")
	program = filepath.Join(store, "nix/bin/nix")
	if err := os.MkdirAll(filepath.Dir(program), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, nil, 0o755); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	return store, program
}

// shown is what of the helper's state the job has mounted, too: a mount, which nothing in the helper can replace by a link.
func shown(v *environment, name string) mount.Mount {
	return mount.Mount{Type: mount.TypeBind, Source: filepath.Join(v.dir, "helper", name), Target: "/.skerry/state/" + name}
}

// TestNixGateCannotBeReplaced looks for what the job has mounted from the helper's state: each is a mount in the helper, too.
func TestNixGateCannotBeReplaced(t *testing.T) {
	t.Parallel()
	store, program := hostStore(t)
	for kind, n := range map[string]Nix{
		"shared":  {Image: "nix", Trust: domain.Runner},
		"closure": {Host: true, Closure: true, HostSocket: "/run/nix/daemon.socket", HostStore: store, HostPrograms: []string{program}},
	} {
		o := plainOptions()
		o.Nix = &n
		v, err := planned(t, o, testJob(), engineapi.Docker)
		if err != nil {
			t.Fatal(err)
		}
		state := filepath.Join(v.dir, string(executor.Helper)) + "/"
		for _, m := range v.nixMounts(executor.Build) {
			if name, of := strings.CutPrefix(m.Source, state); of && !slices.Contains(v.nixMounts(executor.Helper), shown(v, name)) {
				t.Errorf("%s: a hook can put a link in the place of %s", kind, m.Source)
			}
		}
	}
}

// TestHostNixPlaces looks at what the places have of the machine's Nix: the job nothing of the daemon, and nothing writable.
func TestHostNixPlaces(t *testing.T) {
	t.Parallel()
	store, program := hostStore(t)
	o := plainOptions()
	o.Nix = &Nix{Host: true, Path: true, HostSocket: "/run/nix/daemon.socket", HostStore: store, HostPrograms: []string{program}}
	v, err := planned(t, o, testJob(), engineapi.Docker)
	if err != nil {
		t.Fatal(err)
	}
	bind := func(source, target string) mount.Mount {
		return mount.Mount{Type: mount.TypeBind, Source: source, Target: target, ReadOnly: true}
	}
	for place, want := range map[executor.Place][]mount.Mount{
		executor.Helper: {shown(v, "nix"), bind("/run/nix", "/.skerry/nix")},
		executor.Build:  {bind(filepath.Join(v.dir, "helper/nix"), "/nix/var/nix/daemon-socket"), bind(store, "/nix/store")},
	} {
		if diff := cmp.Diff(want, v.nixMounts(place)); diff != "" {
			t.Errorf("%s: %s", place, diff)
		}
	}
	helper, build := v.config(executor.Helper), v.config(executor.Build)
	if diff := cmp.Diff(&gateway.Config{
		Listen: "/.skerry/state/nix/socket", Upstream: "/.skerry/nix/daemon.socket", Unprivileged: true, Known: []string{"/nix/store/nix/bin", v.b.Nix.Offer.Certs}, Job: v.b.Ref.ID,
	}, helper.Nix); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(&nixjob.Config{Remote: "daemon", Tools: "/nix/store/nix/bin", Certs: v.b.Nix.Offer.Certs, Path: true}, build.NixJob); diff != "" {
		t.Error(diff)
	}
	if !helper.Confined || build.Confined {
		t.Errorf("confined are the helper: %t, the build: %t", helper.Confined, build.Confined) // the daemon trusts root, as which hooks run
	}
	if build.Nix != nil || helper.NixJob != nil || len(v.b.Warnings) > 0 {
		t.Errorf("build %+v, helper %+v, warnings %q", build.Nix, helper.NixJob, v.b.Warnings)
	}
}

// TestHostNixClosure gives the whole store to the helper alone, and the job a directory that the helper fills.
func TestHostNixClosure(t *testing.T) {
	t.Parallel()
	store, program := hostStore(t)
	o := plainOptions()
	o.Nix = &Nix{Host: true, Closure: true, HostSocket: "/run/nix/daemon.socket", HostStore: store, HostPrograms: []string{program}}
	v, err := planned(t, o, testJob(), engineapi.Podman)
	if err != nil {
		t.Fatal(err)
	}
	bind := func(source, target string) mount.Mount {
		return mount.Mount{Type: mount.TypeBind, Source: source, Target: target, ReadOnly: true}
	}
	view := filepath.Join(v.dir, "helper/nix-store")
	for place, want := range map[executor.Place][]mount.Mount{
		executor.Helper: {shown(v, "nix"), bind("/run/nix", "/.skerry/nix"), bind(store, "/.skerry/nix-store"), shown(v, "nix-store")},
		executor.Build:  {bind(filepath.Join(v.dir, "helper/nix"), "/nix/var/nix/daemon-socket"), bind(view, "/nix/store")},
	} {
		if diff := cmp.Diff(want, v.nixMounts(place)); diff != "" {
			t.Errorf("%s: %s", place, diff)
		}
	}
	if c := v.config(executor.Helper).Nix; c.View != "/.skerry/state/nix-store" || c.Store != "/.skerry/nix-store" {
		t.Errorf("the helper is told %+v", c)
	}
	v.dir = t.TempDir()
	if err := v.makeNixGate(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"nix", "nix-store"} {
		if i, err := os.Stat(filepath.Join(v.dir, "helper", name)); err != nil || !i.IsDir() {
			t.Error(i, err)
		}
	}
}

// TestHostNixNotThere is told why jobs have no Nix, or none in PATH.
func TestHostNixNotThere(t *testing.T) {
	t.Parallel()
	store, _ := hostStore(t)
	o := plainOptions()
	o.Nix = &Nix{Host: true, Path: true, HostSocket: "/run/nix/daemon.socket", HostStore: store, HostPrograms: []string{"/bin/sh"}}
	j := testJob()
	j.Image.Entrypoint = []string{"/entry"}
	v, err := planned(t, o, j, engineapi.Podman)
	if err != nil {
		t.Fatal(err)
	}
	v.entrypoint.Store(&j.Image.Entrypoint)
	if w := strings.Join(v.b.Warnings, "\n"); !strings.Contains(w, "does not lie in its store") {
		t.Errorf("the job is warned of %q", w)
	}
	for said, want := range map[string]bool{
		"statfs " + store + ": no such file or directory":                                            true,
		`invalid mount config for type "bind": bind source path does not exist: /run/nix`:            true,
		`exec: "/entry": stat /entry: no such file or directory`:                                     false,
		`error mounting "` + store + `" to rootfs at "/nix/store": change mount propagation: EINVAL`: false,
	} {
		err := v.notStarted(&v.b.Build, errors.New(said))
		if got := strings.Contains(err.Error(), "host_socket"); got != want || !strings.Contains(err.Error(), said) {
			t.Errorf("of %q is said %q", said, err)
		}
	}
	v.b.Agent = &carrier.Way{Volume: "agent"}
	done := &step{done: make(chan struct{})}
	close(done.done)
	if err := v.makeNixVolumes(t.Context(), done); err == nil || !strings.Contains(err.Error(), `store = "shared"`) {
		t.Error("on another machine: ", err)
	}
}
