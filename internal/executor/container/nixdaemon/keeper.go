package nixdaemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"gitlab.com/skerry/skerry/internal/executor/container/carrier"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
	"gitlab.com/skerry/skerry/internal/nixstore/nixd"
)

// Keeper keeps the daemons of one engine. It is safe for concurrent use. The caller closes it.
type Keeper struct {
	connect func(context.Context) (*engineapi.Engine, error)
	log     *slog.Logger
	// look is how long it is between two looks at a daemon that jobs need.
	look time.Duration

	ctx  context.Context //nolint:containedctx // of what goes on between jobs
	stop context.CancelFunc
	work sync.WaitGroup

	mu      sync.Mutex
	domains map[string]*domain // by the name of the container
}

// Offer is what a store has for jobs.
type Offer struct {
	Tools string `json:"tools,omitempty"` // a directory with Nix's programs; empty: see Why
	Certs string `json:"certs,omitempty"` // a file with certificates, or empty
	Why   string `json:"why,omitempty"`   // there are no tools
}

// domain is what this process knows of one daemon.
type domain struct {
	making sync.Mutex // one at a time makes or ends it

	// These belong to Keeper.mu.
	users    int
	idle     *time.Timer // stops it; nil while jobs have it
	offer    *Offer
	watching bool
	spec     Spec
	volumes  bool   // they are there
	imageID  string // what the daemon is to be made of; empty: not known yet
}

// lookEvery is the usual Keeper.look.
const lookEvery = 5 * time.Second

// New returns a keeper of the daemons of the engine that connect connects to.
func New(connect func(context.Context) (*engineapi.Engine, error), log *slog.Logger) *Keeper {
	ctx, stop := context.WithCancel(context.Background())
	return &Keeper{connect: connect, log: log, look: lookEvery, ctx: ctx, stop: stop, domains: map[string]*domain{}}
}

// Close ends what goes on beside the jobs. The daemons run on: jobs may outlive this process.
func (k *Keeper) Close() {
	k.stop()
	k.mu.Lock()
	for _, d := range k.domains {
		if d.idle != nil {
			d.idle.Stop()
		}
	}
	k.mu.Unlock()
	k.work.Wait()
}

// Use says that a job needs the domain of s from now on: its daemon is not stopped until the job has called done,
// which it may do again. It asks nothing of the engine.
func (k *Keeper) Use(s Spec) (done func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	d := k.domain(s)
	d.spec = s
	d.users++
	if d.idle != nil {
		d.idle.Stop()
		d.idle = nil
	}
	if !d.watching {
		d.watching = true
		k.work.Go(func() { k.watch(d) })
	}
	return sync.OnceFunc(func() { k.leave(d) })
}

// domain is that of s; Keeper.mu is held.
func (k *Keeper) domain(s Spec) *domain {
	d := k.domains[s.Name()]
	if d == nil {
		d = &domain{}
		k.domains[s.Name()] = d
	}
	return d
}

func (k *Keeper) leave(d *domain) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if d.users--; d.users > 0 || d.spec.Idle <= 0 || k.ctx.Err() != nil {
		return
	}
	d.idle = time.AfterFunc(d.spec.Idle, func() { k.work.Go(func() { k.rest(d) }) })
}

// rest stops a daemon that no job has needed for a while.
func (k *Keeper) rest(d *domain) {
	d.making.Lock()
	defer d.making.Unlock()
	k.mu.Lock()
	busy, s := d.users > 0 || k.ctx.Err() != nil, d.spec
	k.mu.Unlock()
	if busy {
		return
	}
	e, err := k.connect(k.ctx)
	if err == nil {
		err = e.Stop(k.ctx, s.Name(), stopGrace)
	}
	if err != nil {
		k.log.Warn("A Nix daemon that no job needs could not be stopped", "container", s.Name(), "error", err)
		return
	}
	k.log.Info("No job needs this Nix daemon any more: it is stopped until one does", "container", s.Name())
}

// stopGrace is how long a daemon has for its end.
const stopGrace = 10 * time.Second

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
	c, err := e.State(ctx, s.Name())
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
	k.mu.Lock()
	d.imageID = imageID
	k.mu.Unlock()
	if there && c.Running {
		return k.offer(ctx, e, d, s, imageID, true)
	}
	created := make(chan error, 1)
	go func() { created <- k.create(ctx, e, s, imageID, there) }() // while the store is filled
	offer, err := k.offer(ctx, e, d, s, imageID, false)
	if err = errors.Join(err, <-created); err != nil {
		return offer, err
	}
	return offer, e.Start(ctx, s.Name())
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
		offer, err = ask(ctx, e, s)
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

// ask asks a daemon's container that runs.
func ask(ctx context.Context, e *engineapi.Engine, s Spec) (Offer, error) {
	said, err := Run(ctx, e, s, nixd.CommandInfo, "--wait=30s")
	if err != nil {
		return Offer{}, err
	}
	var i nixd.Info
	if err := json.Unmarshal(said, &i); err != nil {
		return Offer{}, fmt.Errorf("the Nix daemon in container %s said %q: %w", s.Name(), said, err)
	}
	return Offer{Tools: i.Tools, Certs: i.Certs}, nil
}

// alone reports whether at most one job, the one that asks, needs the domain.
func (k *Keeper) alone(d *domain) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return d.users <= 1
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
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.domains, s.Name())
	return errors.Join(errs...)
}

func (k *Keeper) lookUp(s Spec) *domain {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.domain(s)
}

// Run runs a command of the agent's program in a domain's daemon container and returns what it wrote.
func Run(ctx context.Context, e *engineapi.Engine, s Spec, command ...string) ([]byte, error) {
	return e.Exec(ctx, s.Name(), "0:0", append([]string{carrier.Exe, nixd.Command}, command...)...)
}
