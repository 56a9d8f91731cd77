package container

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/moby/moby/client"

	"gitlab.com/skerry/skerry/internal/agent"
	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
	"gitlab.com/skerry/skerry/internal/executor/container/slot"
	"gitlab.com/skerry/skerry/internal/executor/sockdir"
)

// environment is one job's containers.
type environment struct {
	e      *Executor
	b      *blueprint
	engine *engineapi.Engine
	dir    string
	out    io.Writer // lines for the job's author
	log    *slog.Logger

	helperImage *engineapi.Image // these are valid when their steps are done
	pool        *slot.Pool
	slot        slot.Slot
	entrypoint  bool // the build image has one, which may have something to say

	greet sync.Once

	stop   context.CancelCauseFunc
	making sync.WaitGroup
	steps  map[string]*step
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

// begin makes what is missing of an environment, beside the caller; Dial waits for it.
func (e *Executor) begin(ctx context.Context, b *blueprint, engine *engineapi.Engine, out io.Writer) *environment {
	v := &environment{
		e: e, b: b, engine: engine, dir: e.dir(b.Ref), out: out, log: e.log.With("ref", b.Ref.String()), steps: map[string]*step{},
	}
	making, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	v.stop = stop
	helper := v.step(func() error { return v.findHelper(making) })
	network := v.step(func() error { return v.makeNetwork(making, helper) })
	services := v.step(func() error { return v.makeServices(making, network) })
	volumes := v.step(func() error { return v.makeVolumes(making) })
	v.steps[string(executor.Helper)] = v.step(func() error {
		if err := helper.wait(making); err != nil {
			return err
		}
		return v.makePlace(making, executor.Helper, &b.Helper, network, volumes)
	})
	v.steps[string(executor.Build)] = v.step(func() error {
		if err := v.makePlace(making, executor.Build, &b.Build, network, volumes); err != nil {
			return err
		}
		return services.wait(making)
	})
	return v
}

func (v *environment) step(work func() error) *step {
	s := &step{done: make(chan struct{})}
	v.making.Go(func() {
		defer close(s.done)
		s.err = work()
	})
	return s
}

// findHelper brings the image of the helper place.
func (v *environment) findHelper(ctx context.Context) (err error) {
	if v.b.Helper.Image == "" {
		if v.b.Helper.Image, err = v.e.host.helper(ctx, v.engine, v.out); err != nil {
			return err
		}
	}
	v.helperImage, err = v.image(ctx, &v.b.Helper)
	return err
}

// makeNetwork takes a slot that nobody uses, or makes one. Which one is written down first.
func (v *environment) makeNetwork(ctx context.Context, helper *step) error {
	if v.b.Network != "" {
		return nil
	}
	if err := helper.wait(ctx); err != nil {
		return err
	}
	v.pool = v.e.host.pool(v.engine, v.e.o.kind(v.b), v.log)
	if v.b.Slot == "" {
		s, there := v.pool.Idle()
		if !there {
			s.Name = slot.NewName(string(v.b.Ref.Owner))
		}
		v.b.Slot = s.Name
		if err := v.b.write(v.dir); err != nil {
			return err
		}
		if there {
			v.slot = s
			return nil
		}
	}
	ctx, cancel := whole(ctx)
	defer cancel()
	var err error
	v.slot, err = v.pool.Make(ctx, v.b.Slot)
	return err
}

// network is what the containers of the places are told to join.
func (v *environment) network() string {
	if v.b.Network != "" {
		return v.b.Network
	}
	return "container:" + v.slot.Name
}

func (v *environment) makeVolumes(ctx context.Context) error {
	ctx, cancel := whole(ctx)
	defer cancel()
	var errs []error
	for _, vol := range v.b.Volumes {
		errs = append(errs, v.engine.Volume(ctx, vol.Name, vol.Labels))
	}
	return errors.Join(errs...)
}

// makePlace makes and starts the container of a place.
func (v *environment) makePlace(ctx context.Context, place executor.Place, p *part, needs ...*step) error {
	dir := filepath.Join(v.dir, string(place))
	if err := makePlace(dir, v.e.o.Umask); err != nil {
		return err
	}
	image, err := v.image(ctx, p)
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
	ctx, cancel := whole(ctx)
	defer cancel()
	if place == executor.Build {
		v.entrypoint = len(p.entry(image)) > 0
	}
	if _, err := v.engine.Create(ctx, v.container(place, p, image)); err != nil {
		return err
	}
	return v.engine.Start(ctx, p.Name)
}

// wholeTime bounds a request to the engine that is not given up when the environment is closed.
const wholeTime = 2 * time.Minute

// whole is a context for requests that make something: one that is cancelled goes on in the engine, and
// what it makes then appears after everything has been removed.
func whole(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), wholeTime)
}

// image finds or pulls a part's image.
func (v *environment) image(ctx context.Context, p *part) (*engineapi.Image, error) {
	i, err := v.engine.Image(ctx, p.Image)
	if err != nil && engineapi.IsAbsent(err) {
		err = v.engine.Pull(ctx, p.Image, "", client.ImagePullOptions{}, func(engineapi.Progress) {})
		if err == nil {
			i, err = v.engine.Image(ctx, p.Image)
		}
	}
	return i, err
}

// Dial implements executor.Environment.
func (v *environment) Dial(ctx context.Context, place executor.Place) (net.Conn, error) {
	s := v.steps[string(place)]
	if err := s.wait(ctx); err != nil {
		return nil, err
	}
	dir := filepath.Join(v.dir, string(place))
	look := time.Now().Add(lookAfter)
	for pause := 500 * time.Microsecond; ; pause = min(2*pause, 50*time.Millisecond) {
		conn, err := sockdir.Dial(ctx, dir, "sock/"+agent.SockName)
		if err == nil {
			if place == executor.Build {
				v.greet.Do(func() { v.showPrelude(ctx) })
			}
			return conn, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ECONNREFUSED) {
			return nil, err
		}
		if time.Now().After(look) {
			look = time.Now().Add(lookEvery)
			if why := v.Diagnose(ctx, place); why != nil {
				return nil, why
			}
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, context.Cause(ctx)
		}
	}
}

// showPrelude puts what the image's entrypoint wrote before it started the agent into the job's log.
func (v *environment) showPrelude(ctx context.Context) {
	if !v.entrypoint {
		return
	}
	said, err := v.engine.Logs(ctx, v.b.Build.Name, preludeLines, 64<<10)
	if err != nil {
		v.log.Debug("The output of an image's entrypoint cannot be read", "error", err)
	}
	for line := range strings.Lines(said) {
		_, _ = io.WriteString(v.out, strings.TrimSuffix(line, "\n")+"\n") // the log's own trouble is told elsewhere
	}
}

// preludeLines is how much of what an entrypoint wrote is shown.
const preludeLines = 500

// When an agent that does not answer makes one look at its container, first and again.
const (
	lookAfter = 300 * time.Millisecond
	lookEvery = 2 * time.Second
)

// Diagnose implements executor.Environment.
func (v *environment) Diagnose(ctx context.Context, place executor.Place) error {
	p := &v.b.Build
	if place == executor.Helper {
		p = &v.b.Helper
	}
	s, err := v.engine.State(ctx, p.Name)
	switch {
	case engineapi.IsAbsent(err):
		return fmt.Errorf("the %s container is gone: somebody removed it", place)
	case err != nil:
		return err
	case s.Running:
		return nil
	case s.OOMKilled:
		return fmt.Errorf("the %s container ran out of memory and was killed%s", place, limitWords(s.Memory))
	}
	said, err := v.engine.Logs(ctx, p.Name, 20, 4096)
	if err != nil {
		v.log.Debug("The last words of a container cannot be read", "container", p.Name, "error", err)
	}
	if said != "" {
		said = "; its last words: " + said
	}
	return fmt.Errorf("the %s container ended with exit code %d%s%s", place, s.ExitCode, s.Error, said)
}

func limitWords(limit int64) string {
	if limit <= 0 {
		return ""
	}
	return fmt.Sprintf(" (its limit is %d MiB)", limit>>20)
}

// Close implements executor.Environment.
func (v *environment) Close(ctx context.Context) error {
	v.stop(errClosing)
	v.making.Wait()
	var errs []error
	names := []string{v.b.Build.Name}
	for _, s := range v.b.Services {
		names = append(names, s.Name)
	}
	var removing sync.WaitGroup
	var mu sync.Mutex
	for _, name := range append(names, v.b.Helper.Name) {
		removing.Go(func() {
			err := v.engine.Remove(ctx, name)
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
		})
	}
	removing.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if v.b.Slot != "" && v.pool != nil {
		// The record goes first: from then on the slot is nobody's.
		s := v.slot
		s.Name = v.b.Slot
		defer v.pool.Give(context.WithoutCancel(ctx), s, s.Network != "" && v.e.o.Build.harmless())
	}
	return v.removeDir(ctx)
}

// removeDir removes what the runner itself has of the environment, the record last.
func (v *environment) removeDir(context.Context) error {
	var errs []error
	for _, place := range []executor.Place{executor.Helper, executor.Build} {
		errs = append(errs, os.RemoveAll(filepath.Join(v.dir, string(place))))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove the environment: %w", err)
	}
	err := v.e.release(func(r executor.Ref) bool { return r == v.b.Ref })
	if err == nil {
		err = os.RemoveAll(v.dir)
	}
	if err != nil {
		return fmt.Errorf("remove the environment: %w", err)
	}
	return nil
}
