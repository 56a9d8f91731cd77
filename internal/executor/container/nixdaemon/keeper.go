// Package nixdaemon keeps the Nix daemons of jobs: for each trust domain a container with a store, a database and a
// socket on volumes of its own, made when a job first needs it and stopped when none has needed it for a while. What a
// container and its volumes are is package nixspec, what is in it package nixd; what jobs see of it is the gateway in their
// helper's agent.
package nixdaemon

import (
	"cmp"
	"context"
	"io"
	"log/slog"
	"maps"
	"sync"
	"time"

	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
	"gitlab.com/skerry/skerry/internal/executor/container/nixspec"
	"gitlab.com/skerry/skerry/internal/nixstore/nixd"
)

type (
	// Spec is all that one domain's daemon is made of.
	Spec = nixspec.Spec
	// Policy says what of a store is collected, and when.
	Policy = nixspec.Policy
)

// Options is what a Keeper is made of.
type Options struct {
	// Engine connects to the engine.
	Engine func(context.Context) (*engineapi.Engine, error)
	// Live are the jobs that have a domain, or may: the names of their roots. Who is missing has ended.
	Live func(domain string) ([]string, error)
	Log  *slog.Logger
	// Path is a file that remembers the domains beyond this process; empty: none does.
	Path string
	// Sandbox is told whether the builds of a domain are in Nix's sandbox, each time a daemon has been started, and Gone
	// of domains that are removed with their stores; nil: nobody is.
	Sandbox func(domain string, on bool)
	Gone    func(domain string)
	// Pushed is told of each push of a domain; nil: nobody is.
	Pushed func(domain string, p Pushed)
	// Look is how long it is between two looks at a daemon that jobs need, Tend between two looks whether a store is to be
	// collected; 0: the usual times.
	Look, Tend time.Duration
}

// Keeper keeps the daemons of one engine. It is safe for concurrent use. The caller closes it.
type Keeper struct {
	o   Options
	log *slog.Logger
	// connect is Options.Engine, and run asks a daemon that runs.
	connect func(context.Context) (*engineapi.Engine, error)
	run     func(ctx context.Context, s Spec, command ...string) ([]byte, error)
	// attach is run for one that goes on; the caller closes its input and output.
	attach func(ctx context.Context, s Spec, command ...string) (io.ReadWriteCloser, error)

	ctx     context.Context //nolint:containedctx // of what goes on between jobs
	stop    context.CancelFunc
	work    sync.WaitGroup
	poke    chan struct{} // has the stores looked at, now
	pushing chan struct{} // holds one for each push at work

	mu      sync.Mutex
	closed  bool
	read    bool               // Options.Path has been
	domains map[string]*domain // by the name of the container
	warned  map[string]bool    // of stores without a sandbox
}

// Offer is what a store has for jobs.
type Offer struct {
	Tools string `json:"tools,omitempty"` // a directory with Nix's programs; empty: see Why
	Certs string `json:"certs,omitempty"` // a file with certificates, or empty
	Why   string `json:"why,omitempty"`   // there are no tools
}

// domain is what this process knows of one daemon.
type domain struct {
	making     sync.Mutex    // one at a time makes or ends it
	stopped    bool          // by this process, while making was held
	collecting chan struct{} // holds one: who takes it collects

	// These belong to Keeper.mu.
	memory

	users    int         // jobs
	tasks    int         // commands at work in it
	idle     *time.Timer // stops it; nil while somebody has it
	offer    *Offer
	watching bool
	volumes  bool // they are there
	gone     bool // it has been removed, with its store
	unsaved  bool // the record says something else

	life     *life     // of the daemon that runs
	mount    string    // the store on this machine, where its file system can be looked at; noMount: it cannot
	look     bool      // at the free space, soon
	looked   time.Time // at it
	scarce   time.Time // not to be collected again for want of space before
	relieved time.Time // not to be collected again for Relieve before
	told     time.Time // the last warning that too little is free

	push pushState

	over    []string  // jobs whose roots are to be released, as they have ended
	weighed time.Time // the last time that it was said after a job what is in it
}

// The usual times of Options.
const (
	lookEvery = 5 * time.Second
	tendEvery = 30 * time.Second
)

// New returns a keeper of the daemons of an engine.
func New(o Options) *Keeper {
	o.Look, o.Tend = cmp.Or(o.Look, lookEvery), cmp.Or(o.Tend, tendEvery)
	ctx, stop := context.WithCancel(context.Background())
	k := &Keeper{o: o, log: o.Log, connect: o.Engine, ctx: ctx, stop: stop, poke: make(chan struct{}, 1), pushing: make(chan struct{}, pushesAtOnce), domains: map[string]*domain{}, warned: map[string]bool{}}
	k.run = func(ctx context.Context, s Spec, command ...string) ([]byte, error) {
		e, err := k.connect(ctx)
		if err != nil {
			return nil, err
		}
		return Run(ctx, e, s, command...)
	}
	k.attach = k.attachTo
	return k
}

// Close ends what goes on beside the jobs. The daemons run on: jobs may outlive this process.
func (k *Keeper) Close() {
	k.mu.Lock()
	k.closed = true
	for _, d := range k.domains {
		if d.idle != nil {
			d.idle.Stop()
		}
	}
	k.mu.Unlock()
	k.stop()
	k.work.Wait()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.save()
}

// spawn does something beside the jobs, unless the keeper is closed. The caller holds mu.
func (k *Keeper) spawn(do func()) {
	if !k.closed {
		k.work.Go(do)
	}
}

// beside does something beside the jobs, and at once when the keeper is closed.
func (k *Keeper) beside(do func()) {
	k.mu.Lock()
	closed := k.closed
	k.spawn(do)
	k.mu.Unlock()
	if closed {
		do()
	}
}

// Use says that a job needs the domain of s from now on: its daemon is not stopped until the job has called done,
// which it may do again. It asks nothing of the engine.
func (k *Keeper) Use(s Spec) (done func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	d := k.domain(s.Name())
	d.unsaved = d.become(s, time.Now()) || d.unsaved
	d.users++
	k.keep(d)
	if !d.watching {
		d.watching = true
		k.spawn(func() { k.watch(d) })
	}
	return sync.OnceFunc(func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		d.users--
		d.Used, d.Unused, d.look = time.Now(), true, true
		k.rested(d)
		k.wakeTender()
	})
}

// task has the daemon run until done is called, for something that is no job.
func (k *Keeper) task(d *domain) (done func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	d.tasks++
	k.keep(d)
	return func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		d.tasks--
		k.rested(d)
	}
}

// keep has a daemon not stopped. The caller holds mu, like that of rested.
func (k *Keeper) keep(d *domain) {
	if d.idle != nil {
		d.idle.Stop()
		d.idle = nil
	}
}

// rested has a daemon stopped after a while, if nobody needs it any more.
func (k *Keeper) rested(d *domain) {
	if d.users+d.tasks > 0 || d.Spec.Idle <= 0 || k.closed || d.gone {
		return
	}
	k.keep(d)
	var timer *time.Timer
	timer = time.AfterFunc(d.Spec.Idle, func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		if d.idle == timer {
			d.idle = nil
			k.spawn(func() { k.rest(d) })
		}
	})
	d.idle = timer
}

// domain is that of a name; mu is held.
func (k *Keeper) domain(name string) *domain {
	k.recall()
	d := k.domains[name]
	if d == nil {
		d = newDomain()
		k.domains[name] = d
	}
	return d
}

func newDomain() *domain { return &domain{collecting: make(chan struct{}, 1)} }

func (k *Keeper) lookUp(s Spec) *domain {
	k.mu.Lock()
	defer k.mu.Unlock()
	d := k.domain(s.Name())
	d.Spec.Domain, d.Spec.Owner = s.Domain, s.Owner
	return d
}

// rest stops a daemon that nobody has needed for a while.
func (k *Keeper) rest(d *domain) {
	d.making.Lock()
	defer d.making.Unlock()
	k.mu.Lock()
	busy, s := d.users+d.tasks > 0 || k.closed || d.gone, d.Spec
	k.mu.Unlock()
	if busy {
		return
	}
	e, err := k.connect(k.ctx)
	if err != nil {
		return // there is nothing to stop, or it is tried after the next job
	}
	state, err := e.State(k.ctx, s.Name())
	if err != nil || !state.Running {
		return
	}
	if err := e.Stop(k.ctx, s.Name(), stopGrace); err != nil {
		k.log.Warn("A Nix daemon that no job needs could not be stopped", "container", s.Name(), "error", err)
		return
	}
	d.stopped = true
	k.log.Info("No job needs this Nix daemon any more: it is stopped until one does", "container", s.Name())
}

// stopGrace is how long a daemon has for its end.
const stopGrace = 10 * time.Second

// Adopt takes over the daemons that an earlier process has left: those in names, and those that it has written down. The
// ones that no job uses are stopped as if the last job had gone just now, and their stores are collected. over reports of a
// single job's domain, by its labels, that the job is over: that is removed by others.
func (k *Keeper) Adopt(owner string, names []string, over func(labels map[string]string) bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.recall()
	maps.DeleteFunc(k.domains, func(_ string, d *domain) bool {
		return d.users == 0 && d.Spec.Alone() && over(d.Spec.Labels)
	})
	for _, name := range names {
		if d := k.domain(name); d.Spec.Domain == "" { // nothing is written down
			d.Spec = Spec{Owner: owner, Domain: name, Idle: orphanIdle}
		}
	}
	for _, d := range k.domains {
		if d.idle == nil {
			k.rested(d)
		}
	}
	if len(k.domains) > 0 {
		k.wakeTender()
	}
}

// orphanIdle is the idle timeout of a daemon of which nothing is written down.
const orphanIdle = 10 * time.Minute

// forgetDomain forgets one that is removed.
func (k *Keeper) forgetDomain(d *domain) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.keep(d)
	d.gone = true
	name := d.Spec.Name()
	if k.domains[name] == d {
		delete(k.domains, name)
	}
	k.save()
	if k.o.Gone != nil {
		k.o.Gone(name)
	}
}

// life is one run of a daemon.
type life struct {
	known chan struct{} // closed when info is valid, or will never be
	info  nixd.Info
	err   error
}
