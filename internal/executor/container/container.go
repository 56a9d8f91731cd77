// Package container is the executor that runs jobs in containers of a Docker or Podman engine: one
// container of the user's image (the build place), one with git and our tools (the helper place) and one
// a service, on a network of their own. The engine starts them side by side; from then on the agents
// in them do the work, and no request to the engine lies between a job and its stages.
//
// # What is where
//
// An environment's directory (DIR/ID, 0700) holds env.json, the blueprint, from which a later process goes
// on with what is half-made; it may hold secrets (0600). Its subdirectories helper and build are mounted
// at /.skerry/state of the places. Whatever is in them belongs to the job: the runner only connects to
// sockets there, through package sockdir, and removes them.
package container

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/container/carrier"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
	"gitlab.com/skerry/skerry/internal/executor/container/nixspec"
	"gitlab.com/skerry/skerry/internal/executor/container/slot"
	"gitlab.com/skerry/skerry/internal/job"
)

// Executor makes environments with one engine. It is safe for concurrent use.
type Executor struct {
	o    Options
	host *Host
	log  *slog.Logger
}

// New returns the executor of a runner entry. host is shared by all entries of the process.
func New(o Options, host *Host, log *slog.Logger) *Executor {
	return &Executor{o: o, host: host, log: log}
}

// Prepare implements executor.Executor.
func (e *Executor) Prepare(ctx context.Context, ref executor.Ref, j *job.Job, log io.Writer) (executor.Environment, error) {
	e.host.begun(ref)
	e.space(ref.Owner).Set(e.o.Scope, e.o.Disk)
	dir := e.dir(ref)
	b, err := readBlueprint(dir)
	fresh := false
	if isLost(err) {
		_, dirErr := os.Lstat(dir)
		fresh = errors.Is(dirErr, fs.ErrNotExist) // else what was made is found by its names
		if b, err = e.draw(ctx, ref, j); err == nil {
			b.fresh = fresh
			err = b.write(dir)
		}
	}
	if err != nil {
		e.host.ended(ref)
		return nil, err
	}
	fmt.Fprintf(log, "Using %s executor with image %s ...\n", "Docker", b.Build.Image)
	if b.Owned {
		fmt.Fprintln(log, "Not using umask - FF_DISABLE_UMASK_FOR_DOCKER_EXECUTOR is set!")
	}
	for _, w := range b.Warnings {
		fmt.Fprintf(log, "\x1b[0;33mWARNING: %s\x1b[0;m\n", w)
	}
	return e.begin(ctx, b, fresh, log), nil
}

// Adopt implements executor.Executor.
func (e *Executor) Adopt(ctx context.Context, ref executor.Ref) (executor.Environment, error) {
	b, err := e.adoptable(ctx, ref)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, executor.ErrGone
	}
	if err != nil {
		return nil, err
	}
	e.host.begun(ref)
	return e.begin(ctx, b, false, io.Discard), nil
}

// Reconcile implements executor.Executor. It may be called while jobs run: what this process has begun
// stays, whether keep names it or not.
func (e *Executor) Reconcile(ctx context.Context, owner executor.OwnerID, keep []executor.Ref) error {
	engine, err := e.host.engine(ctx, e.o.Engine)
	if err != nil {
		return err
	}
	e.warnOfGroups(engine)
	used := e.usedSlots(owner, keep)
	left := func(t engineapi.Thing) bool {
		if name := t.Labels[slot.LabelSlot]; name != "" {
			return !used[name] && !e.host.knows(name)
		}
		if t.Labels[labelPart] == carrier.PartProbe {
			return !e.host.site(e.o.Engine).carrier.Probing(t.Name)
		}
		ref, err := executor.ParseRef(t.Labels[labelRef])
		return err == nil && ref.Owner == owner && !slices.Contains(keep, ref) && !e.host.alive(ref)
	}
	containers, networks, err := engine.Owned(ctx, labelOwner, string(owner))
	if err != nil {
		return err
	}
	errs := []error{e.removeLeft(ctx, engine, owner, containers, networks, left)}
	e.adoptNix(owner, containers, left)
	errs = append(errs, e.reconcileDirs(ctx, owner, keep), e.closeDoors(used))
	errs = append(errs, e.releaseUnfinished(owner))
	errs = append(errs, e.adoptShared(ctx, owner, containers), e.reconcileImages(ctx, engine, owner))
	e.space(owner).Set(e.o.Scope, e.o.Disk)
	e.space(owner).Look()
	return errors.Join(errs...)
}

// removeLeft removes those of an owner's containers and networks, and of its volumes, for which left says so.
func (e *Executor) removeLeft(
	ctx context.Context, engine *engineapi.Engine, owner executor.OwnerID, containers, networks []engineapi.Thing, left func(engineapi.Thing) bool,
) error {
	// A container whose network others have joined is removed after them.
	slices.SortStableFunc(containers, func(a, b engineapi.Thing) int {
		return strings.Compare(a.Labels[slot.LabelSlot], b.Labels[slot.LabelSlot])
	})
	var errs []error
	for _, c := range containers {
		if left(c) {
			e.log.Info("Removing a container that no job needs any more", "container", c.Name)
			errs = append(errs, e.remove(ctx, engine, c.Name))
		}
	}
	for _, n := range networks {
		if left(n) {
			errs = append(errs, engine.RemoveNetwork(ctx, n.Name))
		}
	}
	volumes, err := engine.OwnedVolumes(ctx, labelOwner, string(owner))
	if err != nil {
		errs = append(errs, err)
	}
	for _, v := range volumes {
		if part := v.Labels[labelPart]; (part == partVolume || part == nixspec.PartVolume) && left(v) { // a temporary one: the others carry no ref
			errs = append(errs, engine.RemoveVolume(ctx, v.Name))
		}
	}
	return errors.Join(errs...)
}

// usedSlots are the networks that the jobs of refs, and those of this process, have.
func (e *Executor) usedSlots(owner executor.OwnerID, refs []executor.Ref) map[string]bool {
	used := map[string]bool{}
	for _, ref := range slices.Concat(refs, e.host.all(owner)) {
		if b, err := readBlueprint(e.dir(ref)); err == nil && b.Slot != "" {
			used[b.Slot] = true
		}
	}
	return used
}

// closeDoors removes what networks that are gone had on this machine.
func (e *Executor) closeDoors(used map[string]bool) error {
	entries, err := os.ReadDir(e.o.doors())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("list networks: %w", err)
	}
	var errs []error
	for _, entry := range entries {
		if name := entry.Name(); !used[name] && !e.host.knows(name) {
			errs = append(errs, slot.RemoveDoor(e.o.doors(), name))
		}
	}
	return errors.Join(errs...)
}

// reconcileDirs removes the directories of environments that nobody keeps.
func (e *Executor) reconcileDirs(ctx context.Context, owner executor.OwnerID, keep []executor.Ref) error {
	entries, err := os.ReadDir(e.o.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list environments: %w", err)
	}
	var errs []error
	for _, entry := range entries {
		dir := filepath.Join(e.o.Dir, entry.Name())
		if i, err := entry.Info(); err == nil && strings.HasPrefix(entry.Name(), carrier.ProbePrefix) && time.Since(i.ModTime()) > time.Hour {
			errs = append(errs, os.RemoveAll(dir))
		}
		if id, ok := strings.CutPrefix(entry.Name(), unfinishedPrefix); ok {
			if ref := (executor.Ref{Owner: owner, ID: id}); !slices.Contains(keep, ref) && !e.host.alive(ref) {
				errs = append(errs, os.RemoveAll(dir))
			}
			continue
		}
		ref := executor.Ref{Owner: owner, ID: entry.Name()}
		if slices.Contains(keep, ref) || e.host.alive(ref) {
			continue
		}
		switch b, err := readBlueprint(dir); {
		case err == nil && b.Ref == ref:
			errs = append(errs, (&environment{e: e, b: b, dir: dir}).removeDir(ctx))
		case isLost(err) && isRemains(dir):
			errs = append(errs, e.unrecorded(ref).removeDir(ctx))
		}
	}
	// A job whose runner died between its lease and its record has nothing but the lease.
	errs = append(errs, e.release(func(r executor.Ref) bool { return r.Owner == owner && !slices.Contains(keep, r) && !e.host.alive(r) }))
	return errors.Join(errs...)
}

func (e *Executor) dir(ref executor.Ref) string { return filepath.Join(e.o.Dir, ref.ID) }

// remove removes a container, with its volumes that have no name unless volume_keep says otherwise.
func (e *Executor) remove(ctx context.Context, engine *engineapi.Engine, name string) error {
	if e.o.VolumeKeep {
		return engine.RemoveKeeping(ctx, name)
	}
	return engine.Remove(ctx, name)
}
