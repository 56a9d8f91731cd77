package nixdaemon

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
	"gitlab.com/skerry/skerry/internal/nixstore/nixd"
)

// Ensure makes what is missing of the domain's daemon and starts it. What the store offers to jobs is the same as long
// as the daemon's image is.
func (k *Keeper) Ensure(ctx context.Context, s Spec, imageID string) (Offer, error) {
	d := k.lookUp(s)
	d.making.Lock()
	defer d.making.Unlock()
	hash, err := s.hash(imageID)
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
	if there && c.Labels[LabelSpec] != hash && k.alone(d) {
		k.log.Info("The image or the settings of a Nix daemon have changed: it is made anew, its store stays", "container", s.Name())
		if err := e.Remove(ctx, s.Name()); err != nil {
			return Offer{}, err
		}
		there = false
		k.forget(d)
	}
	k.madeOf(d, imageID)
	runs := there && c.Running
	created := make(chan error, 1)
	go func() { created <- k.create(ctx, e, s, imageID, there) }() // while the store is filled
	offer, err := k.offer(ctx, e, d, s, imageID, runs)
	err = errors.Join(err, <-created)
	if err == nil && !runs {
		err = k.start(ctx, e, d, s, imageID)
	}
	if err == nil {
		k.serves(d, !runs)
	}
	return offer, err
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

// offer finds out what the store offers: from the daemon where one serves, else by filling the store, which is done
// again before each start: what is there is left.
func (k *Keeper) offer(ctx context.Context, e *engineapi.Engine, d *domain, s Spec, imageID string, serves bool) (Offer, error) {
	k.mu.Lock()
	known := d.offer
	k.mu.Unlock()
	if known != nil {
		return *known, nil
	}
	var offer Offer
	var err error
	if serves {
		var i nixd.Info
		if err = k.ask(ctx, s, &i, nixd.CommandInfo, "--wait=30s"); err != nil {
			err = fmt.Errorf("the Nix daemon in container %s: %w", s.Name(), err)
		}
		offer = Offer{Tools: i.Tools, Certs: i.Certs}
	} else {
		offer, err = k.seed(ctx, e, s, imageID)
	}
	if err == nil {
		k.mu.Lock()
		d.offer = &offer
		k.mu.Unlock()
	}
	return offer, err
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
	o, err := s.daemon(e, imageID)
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
		making.Go(func() { errs[i] = e.Volume(ctx, name, s.labels(PartVolume)) })
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
	if err := errors.Join(e.Remove(ctx, s.seedName()), e.Remove(ctx, s.Name())); err != nil {
		return err
	}
	var errs []error
	for _, name := range s.Volumes().All() {
		errs = append(errs, e.RemoveVolume(ctx, name))
	}
	k.forgetDomain(d)
	return errors.Join(errs...)
}
