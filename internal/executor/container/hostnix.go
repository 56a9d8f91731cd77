package container

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"

	"github.com/moby/moby/api/types/mount"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/container/nixdaemon"
	"gitlab.com/skerry/skerry/internal/nixstore/nixhost"
)

// hostDaemon is the machine's daemon for a helper: the directory, because a daemon that restarts makes its socket anew.
func (n *Nix) hostDaemon() mount.Mount {
	return mount.Mount{Type: mount.TypeBind, Source: filepath.Dir(n.HostSocket), Target: nixDaemon, ReadOnly: true}
}

// hostStore is the machine's store for a job.
func (n *Nix) hostStore() mount.Mount {
	return mount.Mount{Type: mount.TypeBind, Source: cmp.Or(n.HostStore, nixhost.StoreDir), Target: nixhost.StoreDir, ReadOnly: true}
}

// hostHelper is what the helper has of the machine's Nix.
func (v *environment) hostHelper() []mount.Mount {
	mounts := []mount.Mount{v.e.o.Nix.hostDaemon()}
	if v.b.Nix.Closure {
		whole := v.e.o.Nix.hostStore()
		whole.Target = nixWhole
		mounts = append(mounts, whole, v.shown(nixView))
	}
	return mounts
}

// hostView is what the job has for a store.
func (v *environment) hostView() mount.Mount {
	store := v.e.o.Nix.hostStore()
	if v.b.Nix.Closure {
		store.Source = filepath.Join(v.dir, string(executor.Helper), nixView)
	}
	return store
}

// checkHostNix says why jobs cannot have the machine's Nix. Podman would make directories that are missing.
func (v *environment) checkHostNix() error {
	if v.b.Agent.Volume != "" {
		return fmt.Errorf("store = \"host\" in [runners.nix] gives jobs the Nix store of this machine, but the engine %s is on another one, or shares no directories with it: "+
			"set store = \"shared\" there", v.engine)
	}
	for _, dir := range []string{v.e.o.Nix.hostDaemon().Source, v.e.o.Nix.hostStore().Source} {
		if i, err := os.Stat(dir); err != nil || !i.IsDir() {
			return noHostNix(cmp.Or(err, fmt.Errorf("%s is no directory", dir)))
		}
	}
	return nil
}

func noHostNix(err error) error {
	return fmt.Errorf("store = \"host\" in [runners.nix] gives jobs this machine's Nix, which is not where it should be (host_socket names the daemon's socket; "+
		"store = \"shared\" needs no Nix here): %w", err)
}

// drawHostNix writes down what the machine's store offers at present.
func (b *blueprint) drawHostNix(n *Nix) {
	places := nixhost.Usual(os.Getenv("PATH"))
	places.Store = n.HostStore
	if n.HostPrograms != nil {
		places.Programs = n.HostPrograms
	}
	o := nixhost.Find(places)
	b.Nix.Offer = &nixdaemon.Offer{Tools: o.Tools, Certs: o.Certs, Why: o.Why}
	if n.Path && o.Why != "" {
		b.Warnings = append(b.Warnings, "path = true in [runners.nix] has no effect: "+o.Why)
	}
}

// isHostNix reports whether words, of an engine that could not start a container, speak of the machine's Nix.
func (v *environment) isHostNix(says func(...string) bool) bool {
	n := v.e.o.Nix
	return v.b.Nix != nil && v.b.Nix.Host && n != nil && says(n.hostDaemon().Source, n.hostStore().Source) &&
		says("no such file or directory", "does not exist")
}
