package container

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"

	"github.com/moby/moby/api/types/mount"

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

// noHostNix is why jobs cannot have the machine's Nix.
func (v *environment) noHostNix() error {
	return fmt.Errorf("store = \"host\" in [runners.nix] gives jobs the Nix store of this machine, but the engine %s is on another one, or shares no directories with it: "+
		"set store = \"shared\" there", v.engine)
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
