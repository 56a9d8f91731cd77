package nixdaemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
	"gitlab.com/skerry/skerry/internal/executor/container/nixspec"
	"gitlab.com/skerry/skerry/internal/nixstore/nixd"
	"gitlab.com/skerry/skerry/internal/nixstore/nixd/volumes"
)

// Ensure makes what is missing of the domain's daemon and starts it. What the store offers to jobs is the same as long
// as the daemon's image is.
func (k *Keeper) Ensure(ctx context.Context, s Spec, imageID string) (Offer, error) {
	d := k.lookUp(s)
	d.making.Lock()
	defer d.making.Unlock()
	hash, err := s.Hash(imageID)
	if err != nil {
		return Offer{}, err
	}
	e, err := k.connect(ctx)
	if err != nil {
		return Offer{}, err
	}
	c, err := settled(ctx, e, d, s)
	if err != nil && !engineapi.IsAbsent(err) {
		return Offer{}, err
	}
	there := err == nil
	mute := there && c.Labels[nixspec.LabelHolder] == "" // an earlier version has made it, and no gateway of ours gets a root from it
	if mute || there && c.Labels[nixspec.LabelSpec] != hash && k.alone(d) {
		k.log.Info("The image, the settings or the version of a Nix daemon have changed: it is made anew, its store stays", "container", s.Name())
		if err := e.Remove(ctx, s.Name()); err != nil {
			return Offer{}, err
		}
		there = false
		k.forget(d)
	}
	runs := there && c.Running
	first := k.madeOf(d, imageID)
	var offer Offer
	if runs {
		offer, err = k.offered(ctx, d, s)
	} else {
		offer, err = k.begin(ctx, e, d, s, making{imageID, there, first})
	}
	if err == nil {
		k.remember(d, offer)
		k.serves(d, !runs)
	}
	return offer, err
}

// offered is what the store of a daemon that runs offers.
func (k *Keeper) offered(ctx context.Context, d *domain, s Spec) (Offer, error) {
	if o := k.recollect(d); o != nil {
		return *o, nil
	}
	var i nixd.Info
	if err := k.ask(ctx, s, &i, nixd.CommandInfo, "--wait=30s"); err != nil {
		return Offer{}, fmt.Errorf("the Nix daemon in container %s: %w", s.Name(), err)
	}
	return Offer{Tools: i.Tools, Certs: i.Certs}, nil
}

// making is what is known of a daemon that is to be started.
type making struct {
	imageID string
	there   bool // its container is
	first   bool // its store may know nothing of the image
}

// begin starts the daemon, and finds out what its store offers. The daemon fills the store from its image by itself where it can:
// where the volumes hide the image's Nix, and have not been filled, another container does so before.
func (k *Keeper) begin(ctx context.Context, e *engineapi.Engine, d *domain, s Spec, m making) (Offer, error) {
	known := k.recollect(d)
	if known == nil && m.first && k.hides(ctx, e, m.imageID) {
		created := make(chan error, 1)
		go func() { created <- k.create(ctx, e, s, m.imageID, m.there) }() // while the store is filled
		o, err := k.seed(ctx, e, s, m.imageID)
		if err = errors.Join(err, <-created); err != nil {
			return Offer{}, err
		}
		return o, k.start(ctx, e, d, s, m.imageID)
	}
	if err := k.create(ctx, e, s, m.imageID, m.there); err != nil {
		return Offer{}, err
	}
	if err := k.start(ctx, e, d, s, m.imageID); err != nil {
		return Offer{}, err
	}
	if known != nil {
		return *known, nil
	}
	var seeded volumes.Seeded
	err := k.ask(ctx, s, &seeded, nixd.CommandSeeded, "--wait=2m")
	if err == nil {
		return Offer{Tools: seeded.Tools, Certs: seeded.Certs, Why: seeded.Why}, nil
	}
	return k.unseeded(ctx, e, d, s, m.imageID, err)
}

// unseeded goes on with a daemon of which it is not known that its store is filled.
func (k *Keeper) unseeded(ctx context.Context, e *engineapi.Engine, d *domain, s Spec, imageID string, why error) (Offer, error) {
	c, err := e.State(ctx, s.Name())
	switch {
	case err != nil:
		return Offer{}, errors.Join(why, err)
	case c.Running: // it is one that others have, of before this process
		return k.offered(ctx, d, s)
	case c.ExitCode != nixd.ExitUnseeded:
		said, _ := e.Logs(ctx, s.Name(), lastLines, lastBytes) // the exit code is something, too
		return Offer{}, fmt.Errorf("the Nix daemon in container %s, of the image %s, has ended with exit code %d: %s", s.Name(), s.Image, c.ExitCode, said)
	}
	o, err := k.seed(ctx, e, s, imageID)
	if err != nil {
		return Offer{}, err
	}
	if _, err := settled(ctx, e, d, s); err != nil && !engineapi.IsAbsent(err) {
		return Offer{}, err
	}
	return o, k.start(ctx, e, d, s, imageID)
}

// hides reports whether the image's Nix is where the volumes will be, by where it looks for programs. If it is wrong in that, it
// only takes longer.
func (k *Keeper) hides(ctx context.Context, e *engineapi.Engine, imageID string) bool {
	i, err := e.Image(ctx, imageID)
	return err == nil && slices.ContainsFunc(i.Env, func(v string) bool {
		dirs, is := strings.CutPrefix(v, "PATH=")
		return is && (strings.Contains(":"+dirs, ":/nix/") || strings.Contains(dirs, "/.nix-profile/"))
	})
}

// start starts the daemon's container. One that was removed meanwhile is made again.
func (k *Keeper) start(ctx context.Context, e *engineapi.Engine, d *domain, s Spec, imageID string) error {
	err := e.Start(ctx, s.Name())
	if engineapi.IsAbsent(err) {
		if err = k.create(ctx, e, s, imageID, false); err == nil {
			err = e.Start(ctx, s.Name())
		}
	}
	d.stopped = d.stopped && err != nil
	return err
}

// recollect is what is known of what the store offers; nil: nothing.
func (k *Keeper) recollect(d *domain) *Offer {
	k.mu.Lock()
	defer k.mu.Unlock()
	return d.offer
}

func (k *Keeper) remember(d *domain, o Offer) {
	k.mu.Lock()
	defer k.mu.Unlock()
	d.offer = &o
}

// alone reports whether nobody but the one that asks needs the domain.
func (k *Keeper) alone(d *domain) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return d.users+d.tasks <= 1
}

func (k *Keeper) forget(d *domain) {
	k.mu.Lock()
	defer k.mu.Unlock()
	d.offer = nil
}

// create makes the daemon's container, unless it is there.
func (k *Keeper) create(ctx context.Context, e *engineapi.Engine, s Spec, imageID string, there bool) error {
	if there {
		return nil
	}
	if err := k.Volumes(ctx, s); err != nil {
		return err
	}
	o, err := s.Daemon(e, imageID)
	if err != nil {
		return err
	}
	_, err = e.Create(ctx, o)
	return err
}

// Volumes makes the domain's volumes that are not there yet.
func (k *Keeper) Volumes(ctx context.Context, s Spec) error {
	d := k.lookUp(s)
	k.mu.Lock()
	there := d.volumes
	k.mu.Unlock()
	if there {
		return nil
	}
	e, err := k.connect(ctx)
	if err != nil {
		return err
	}
	var making sync.WaitGroup
	errs := make([]error, len(s.Volumes().All()))
	for i, name := range s.Volumes().All() {
		making.Go(func() { errs[i] = e.Volume(ctx, name, s.LabelsOf(nixspec.PartVolume)) })
	}
	making.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	d.volumes = true
	return nil
}

// Drop removes a domain with its store. Nothing of it is no error.
func (k *Keeper) Drop(ctx context.Context, s Spec) error {
	d := k.lookUp(s)
	d.making.Lock()
	defer d.making.Unlock()
	e, err := k.connect(ctx)
	if err != nil {
		return err
	}
	if err := errors.Join(e.Remove(ctx, s.SeedName()), e.Remove(ctx, s.Name())); err != nil {
		return err
	}
	var errs []error
	for _, name := range s.Volumes().All() {
		errs = append(errs, e.RemoveVolume(ctx, name))
	}
	k.forgetDomain(d)
	return errors.Join(errs...)
}
