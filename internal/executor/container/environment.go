package container

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/moby/moby/client"

	"gitlab.com/skerry/skerry/internal/agent/nested"
	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
	"gitlab.com/skerry/skerry/internal/executor/container/slot"
)

// environment is one job's containers.
type environment struct {
	e      *Executor
	b      *blueprint
	engine *engineapi.Engine // valid when reached is done; of an environment without that, Close's
	dir    string
	out    io.Writer // lines for the job's author
	log    *slog.Logger

	pool       *slot.Pool // these are valid when the step that finds them is done, and for Close
	slot       slot.Slot
	hosts      []string                 // names of services, where the places do not share a hosts file
	entrypoint atomic.Pointer[[]string] // of the build image, which may have something to say
	answered   atomic.Bool              // the build place's agent has answered

	greet, slow sync.Once
	told        told // services that have been warned of

	fresh   bool  // nothing of it was made by an earlier process
	reached *step // to the engine; nil when all has been made
	closing sync.Mutex
	closed  bool
	stop    context.CancelCauseFunc
	making  sync.WaitGroup
	steps   map[string]*step

	helperStep *step            // finds the helper's image
	tools      *engineapi.Image // which it has found

	profileDir string // where Podman finds the profile of the job's own engine, if not in dir

	nixDone  func() // the job does not need its Nix daemon any more; nil: it has none
	labelled bool   // the build image asks for Nix in PATH

	bound *nested.Bound // what its engine may keep in place of nested_disk; nil: that, for it is a job's own

	heirs   atomic.Pointer[func()] // not nil: the job has succeeded: what it has made may serve later ones; to be called before that takes time
	offered bool                   // a try to copy its images has been made; guarded by closing
}

// step is a piece of the making that others wait for.
type step struct {
	done chan struct{}
	err  error // valid when done is closed
}

func (s *step) wait(ctx context.Context) error {
	select {
	case <-s.done:
		return s.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

var errClosing = errors.New("the environment is being removed")

// begin makes what is missing of an environment, beside the caller; Dial waits for it. Of one that has been
// made nothing is asked of the engine: its agents answer although that may be away just now.
func (e *Executor) begin(ctx context.Context, b *blueprint, fresh bool, out io.Writer) *environment {
	v := &environment{
		e: e, b: b, dir: e.dir(b.Ref), out: out, log: e.log.With("ref", b.Ref.String()), steps: map[string]*step{},
	}
	making, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	v.stop = stop
	if v.made() {
		done := v.step(func() error { return nil })
		v.steps[string(executor.Helper)], v.steps[string(executor.Build)] = done, done
		v.useNix()
		return v
	}
	if v.isClosing() { // what is half-removed is not made again
		stop(errClosing)
	}
	connect := v.step(func() (err error) {
		v.engine, err = e.host.engine(making, e.o.Engine)
		return err
	})
	v.fresh, v.reached = fresh, connect
	v.make(making, connect)
	return v
}

// make begins all steps; each waits for those that it needs.
func (v *environment) make(making context.Context, connect *step) {
	b := v.b
	helper := v.step(func() error {
		if err := connect.wait(making); err != nil {
			return err
		}
		return v.findHelper(making)
	})
	v.helperStep = helper
	way := v.step(func() error {
		if err := helper.wait(making); err != nil {
			return err
		}
		return v.chooseWay(making)
	})
	network := v.step(func() error { return v.makeNetwork(making, way) })
	links := v.step(func() error { return v.makeLinks(making, network) })
	volumes := v.step(func() error {
		if err := connect.wait(making); err != nil {
			return err
		}
		return v.makeVolumes(making)
	})
	nixVolumes := v.step(func() error { return v.makeNixVolumes(making, way) })
	nix := v.step(func() error { return v.makeNix(making, nixVolumes) })
	helperPlace := v.step(func() error {
		if err := way.wait(making); err != nil {
			return err
		}
		return v.makePlace(making, executor.Helper, &b.Helper, network, volumes, nixVolumes)
	})
	services := v.step(func() error {
		if err := connect.wait(making); err != nil {
			return err
		}
		return v.makeServices(making, needs{network, volumes, helperPlace})
	})
	nested := v.step(func() error { return v.makeNested(making, way, network, volumes) })
	build := v.step(func() error {
		if err := connect.wait(making); err != nil {
			return err
		}
		if err := v.makePlace(making, executor.Build, &b.Build, way, network, volumes, nix); err != nil {
			return err
		}
		if err := errors.Join(links.wait(making), services.wait(making), nested.wait(making)); err != nil {
			return err
		}
		return v.nameServices(making)
	})
	v.steps[string(executor.Helper)], v.steps[string(executor.Build)] = helperPlace, build
	v.step(func() error {
		if err := errors.Join(helperPlace.wait(making), build.wait(making)); err != nil {
			return err
		}
		return v.setMade()
	})
}

// fileMade says that all of an environment has been made.
const fileMade = "made"

func (v *environment) made() bool {
	_, err := os.Stat(filepath.Join(v.dir, fileMade))
	return err == nil
}

func (v *environment) setMade() error {
	if err := os.WriteFile(filepath.Join(v.dir, fileMade), nil, 0o600); err != nil {
		return fmt.Errorf("record that the environment is made: %w", err)
	}
	return nil
}

func (v *environment) step(work func() error) *step {
	s := &step{done: make(chan struct{})}
	v.making.Go(func() {
		defer close(s.done)
		s.err = work()
	})
	return s
}

// makePlace makes and starts the container of a place.
func (v *environment) makePlace(ctx context.Context, place executor.Place, p *part, needs ...*step) error {
	image, err := v.partImage(ctx, p)
	if err != nil {
		return err
	}
	for _, need := range needs {
		if err := need.wait(ctx); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if place == executor.Build {
		v.labelled = image.Labels[labelNix] == nixInPath
	}
	if v.b.Agent.Volume == "" {
		dir := filepath.Join(v.dir, string(place))
		if err := makePlace(dir, v.config(place)); err != nil {
			return err
		}
		relabel(v.log, dir, filepath.Dir(v.e.o.Agent))
	}
	if place == executor.Build {
		if err := v.openNested(ctx); err != nil {
			return err
		}
	}
	err = v.create(ctx, p, image, func(i *engineapi.Image) (client.ContainerCreateOptions, error) {
		if place == executor.Build {
			entry := p.entry(i)
			v.entrypoint.Store(&entry)
		}
		return v.container(place, p, i)
	})
	if err != nil {
		return v.notStarted(p, err)
	}
	ctx, cancel := whole(ctx)
	defer cancel()
	if v.b.Agent.Volume != "" {
		return v.notStarted(p, v.startRemote(ctx, place, p))
	}
	return v.notStarted(p, v.engine.Start(ctx, p.Name))
}

// wholeTime bounds a request to the engine that is not given up when the environment is closed.
const wholeTime = 2 * time.Minute

// whole is a context for requests that make something: one that is cancelled goes on in the engine, and
// what it makes then appears after everything has been removed.
func whole(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), wholeTime)
}

// Close implements executor.Environment.
func (v *environment) Close(ctx context.Context) error {
	v.e.host.vacating(v.b.Ref)
	defer v.e.host.vacated(v.b.Ref)
	v.stop(errClosing)
	v.making.Wait()
	v.closing.Lock()
	defer v.closing.Unlock()
	if v.closed { // and its network may be another job's by now
		return nil
	}
	err := v.close(ctx)
	if err != nil && v.pool != nil {
		v.pool.Stays(v.b.Slot)
	}
	v.closed = err == nil
	return err
}

// engineToClose connects to the engine where no step has: nobody else asks it for anything then.
func (v *environment) engineToClose(ctx context.Context) (err error) {
	if v.engine == nil {
		v.engine, err = v.e.host.engine(ctx, v.e.o.Engine)
	}
	return err
}

func (v *environment) close(ctx context.Context) error {
	if v.fresh && v.reached != nil && v.reached.err != nil {
		return v.removeDir(ctx) // there was no engine that could have made anything
	}
	if err := v.engineToClose(ctx); err != nil {
		return err
	}
	v.markClosing()
	if v.pool != nil && v.reusable() {
		v.pool.Coming(v.b.Slot)
	}
	v.endPlaces(ctx)
	var errs []error
	names := []string{v.b.Build.Name}
	for _, s := range v.b.Services {
		names = append(names, s.Name)
	}
	var removing sync.WaitGroup
	var mu sync.Mutex
	for _, name := range append(names, v.b.Helper.Name) {
		removing.Go(func() {
			err := v.e.remove(ctx, v.engine, name)
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
		})
	}
	engineErr := v.removeNested(ctx)
	removing.Wait()
	if err := errors.Join(append(errs, engineErr)...); err != nil {
		return err
	}
	// Nothing has them any more: who removes the rest, also after a crash, does not touch them.
	if err := v.e.vacate(v.b.Ref); err != nil {
		return err
	}
	if err := errors.Join(v.removeVolumes(ctx), v.closeNix(ctx)); err != nil {
		return err
	}
	if v.offerKept(ctx) {
		var cancel context.CancelFunc
		ctx, cancel = whole(ctx) // it may have taken longer than the rest may
		defer cancel()
	}
	if err := v.closeNested(ctx); err != nil {
		return err
	}
	if v.pool == nil && v.b.Slot != "" && v.b.Agent != nil { // an earlier process has made it
		mac, err := v.mac()
		if err != nil {
			return err
		}
		v.pool = v.e.host.pool(v.engine, v.e.o.kind(v.b, mac), v.log)
	}
	defer v.leave()
	if v.b.Slot != "" && v.pool != nil {
		// The record goes first: from then on the slot is nobody's.
		s := v.slot
		s.Name = v.b.Slot
		defer v.pool.Give(context.WithoutCancel(ctx), s, v.reusable())
	} else if v.b.Slot != "" { // closed before it came to the network that an earlier process had taken
		if err := errors.Join(slot.Remove(ctx, v.engine, v.b.Slot), slot.RemoveDoor(v.e.o.doors(), v.b.Slot)); err != nil {
			return err
		}
	}
	if err := v.removeDir(ctx); err != nil {
		return err
	}
	v.closeImages(ctx)
	return nil
}
