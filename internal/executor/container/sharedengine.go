package container

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
	"gitlab.com/skerry/skerry/internal/stage/tree"
)

// sharedEngine is the one engine that all jobs of a runner entry have for containers. It is made for the first of them and kept for
// the next ones; it goes when none has had it for long, and with the runner's process when none has it. Its volume stays. Who has it
// is what the records of the environments say, so that every process knows.
type sharedEngine struct {
	e     *Executor // of any entry with the same engine
	name  string    // of its container
	owner executor.OwnerID

	making chan struct{} // has room for one: who makes or removes it
	idle   *time.Timer   // guarded by Host.mu, like
	over   bool          // the host is closed
}

// take waits until nobody else makes or removes the engine; release lets the next one.
func (s *sharedEngine) take(ctx context.Context) (release func(), err error) {
	select {
	case s.making <- struct{}{}:
		return func() { <-s.making }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("wait until the shared container engine has been made or removed: %w", context.Cause(ctx))
	}
}

// sharedIdle is how long a shared engine is kept that no job has.
const sharedIdle = time.Hour

// shared is the engine of the environment's entry that its jobs share.
func (v *environment) shared() *sharedEngine {
	return v.e.host.sharedEngine(v.e, v.b.Ref.Owner, v.b.Shared.Name)
}

func (h *Host) sharedEngine(e *Executor, owner executor.OwnerID, name string) *sharedEngine {
	h.mu.Lock()
	defer h.mu.Unlock()
	key := e.sharedDir(name)
	s := h.shared[key]
	if s == nil {
		s = &sharedEngine{e: e, name: name, owner: owner, making: make(chan struct{}, 1), over: h.left}
		if h.shared == nil {
			h.shared = map[string]*sharedEngine{}
		}
		h.shared[key] = s
	}
	s.rest(h)
	return s
}

// rest has the engine removed after a while, if no job has it then. The caller holds Host.mu.
func (s *sharedEngine) rest(h *Host) {
	if s.idle != nil {
		s.idle.Stop()
	}
	if s.over {
		return
	}
	s.idle = time.AfterFunc(sharedIdle, func() {
		ctx, cancel := context.WithTimeout(context.Background(), wholeTime)
		defer cancel()
		if err := s.retire(ctx); err != nil {
			s.e.log.Warn("The shared container engine that no job has could not be removed; it is tried again", "container", s.name, "error", err)
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		s.rest(h)
	})
}

// users are the environments that have it by their records, besides one.
func (s *sharedEngine) users(besides executor.Ref) (n int, err error) {
	return s.e.sharedUsers(s.name, besides)
}

func (e *Executor) sharedUsers(name string, besides executor.Ref) (n int, err error) {
	entries, err := os.ReadDir(e.o.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("list environments: %w", err)
	}
	for _, entry := range entries {
		if !entry.IsDir() {
			continue
		}
		b, err := readBlueprint(filepath.Join(e.o.Dir, entry.Name()))
		if err != nil && !isLost(err) {
			return 0, err
		}
		if err == nil && b.Shared != nil && b.Shared.Name == name && b.Ref != besides {
			n++
		}
	}
	return n, nil
}

// retire removes the engine unless a job has it.
func (s *sharedEngine) retire(ctx context.Context) error {
	release, err := s.take(ctx)
	if err != nil {
		return err
	}
	defer release()
	return s.remove(ctx)
}

// remove is retire for who has taken it. The directory of the socket stays until the host is closed: a job that has been drawn meanwhile may
// have it in its build place already.
func (s *sharedEngine) remove(ctx context.Context) error {
	if n, err := s.users(executor.Ref{}); err != nil || n > 0 {
		return err
	}
	engine, err := s.e.host.engine(ctx, s.e.o.Engine)
	if err != nil {
		return err
	}
	view := s.e.sharedView(engine, s.owner, s.name)
	state, err := engine.State(ctx, s.name)
	switch {
	case engineapi.IsAbsent(err):
	case err != nil:
		return err
	case view.checkShared(state) != nil:
		s.e.log.Warn("A container has the name of the engine that jobs share and is somebody else's: it is left alone", "container", s.name)
	default:
		if err := engine.Remove(ctx, s.name); err != nil {
			return err
		}
	}
	s.e.host.mu.Lock()
	over := s.over
	s.e.host.mu.Unlock()
	err = emptyDir(filepath.Join(view.dir, nestedDir))
	if errors.Is(err, fs.ErrPermission) {
		err = view.sweep(ctx, []executor.Place{nestedDir})
	}
	if err == nil && over {
		err = os.RemoveAll(view.dir)
	}
	if err != nil {
		return fmt.Errorf("remove the shared container engine: %w", err)
	}
	return nil
}

// emptyDir removes what is in a directory; one that is not there is no error.
func emptyDir(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var errs []error
	for _, entry := range entries {
		errs = append(errs, tree.RemoveAll(filepath.Join(dir, entry.Name())))
	}
	return errors.Join(errs...)
}

// adoptShared removes what an earlier process has left of shared engines that no job has.
func (e *Executor) adoptShared(ctx context.Context, owner executor.OwnerID, containers []engineapi.Thing) error {
	var errs []error
	for _, c := range containers {
		if c.Labels[labelPart] != partShared {
			continue
		}
		e.host.mu.Lock()
		_, ours := e.host.shared[e.sharedDir(c.Name)]
		e.host.mu.Unlock()
		if !ours {
			errs = append(errs, e.host.sharedEngine(e, owner, c.Name).retire(ctx))
		}
	}
	return errors.Join(errs...)
}

// closeShared removes the shared engines that no job has.
func (h *Host) closeShared(ctx context.Context) error {
	h.mu.Lock()
	var all []*sharedEngine
	for _, s := range h.shared {
		s.over = true
		if s.idle != nil {
			s.idle.Stop()
		}
		all = append(all, s)
	}
	h.shared = nil
	h.mu.Unlock()
	var closing sync.WaitGroup
	errs := make([]error, len(all))
	for i, s := range all {
		closing.Go(func() { errs[i] = s.retire(ctx) })
	}
	closing.Wait()
	return errors.Join(errs...)
}

// reserveShared takes a shared engine's volume from it, so that it can be removed: false when a job has the engine. It is made again for
// the next job that needs it, after release.
func (e *Executor) reserveShared(owner executor.OwnerID, volume string) (release func(), ok bool) {
	s := e.host.sharedEngine(e, owner, strings.TrimSuffix(volume, sharedSuffix))
	ctx, cancel := context.WithTimeout(context.Background(), wholeTime)
	defer cancel()
	release, err := s.take(ctx)
	if err != nil {
		return nil, false
	}
	if n, err := s.users(executor.Ref{}); err != nil || n > 0 {
		release()
		return nil, false
	}
	if err := s.remove(ctx); err != nil {
		release()
		e.log.Debug("A shared container engine could not be removed", "container", s.name, "error", err)
		return nil, false
	}
	return release, true
}
