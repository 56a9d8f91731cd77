package nixdaemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"gitlab.com/skerry/skerry/internal/executor/container/carrier"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
	"gitlab.com/skerry/skerry/internal/executor/container/nixspec"
	"gitlab.com/skerry/skerry/internal/nixstore/nixd"
)

// ErrNoStore says that a keeper knows no store of a name.
var ErrNoStore = errors.New("there is no such store")

// Store is one store as it is known now.
type Store struct {
	Name   string
	For    string   // who shares it, for people
	Scopes []string // of the runner entries whose jobs have it
	Daemon string   // "running", "stopped", or what is wrong with it
	Jobs   int
	Info   nixd.Info // of a daemon that runs
	Pins   map[string]nixd.Share
	// What is in it, now or when it was looked at last: all, what is not held though jobs have used it, and what is neither.
	All, Recent, Dead nixd.Share
	LastUsed          time.Time
}

// The values of Store.Daemon.
const (
	Running = "running"
	Stopped = "stopped"
)

// Stores describes every store, by name. No daemon is started for it.
func (k *Keeper) Stores(ctx context.Context) []Store {
	return k.each(func(d *domain) Store { return k.describe(ctx, d) })
}

// Known is Stores without asking the engine or a daemon: what only these know is missing, or as it was last.
func (k *Keeper) Known() []Store {
	return k.each(func(d *domain) Store {
		k.mu.Lock()
		defer k.mu.Unlock()
		return d.describe("", nixd.Info{}, nil)
	})
}

func (k *Keeper) each(describe func(*domain) Store) (out []Store) {
	k.mu.Lock()
	k.recall()
	names := slices.Sorted(maps.Keys(k.domains))
	k.mu.Unlock()
	for _, name := range names {
		if d, err := k.known(name); err == nil {
			out = append(out, describe(d))
		}
	}
	return out
}

func (k *Keeper) describe(ctx context.Context, d *domain) Store {
	k.mu.Lock()
	spec := d.Spec
	k.mu.Unlock()
	var info nixd.Info
	var stat nixd.Stat
	state, err := k.state(ctx, spec)
	if err == nil && state == Running {
		if err = k.ask(ctx, spec, &info, nixd.CommandInfo, "--wait=10s"); err == nil {
			k.release(ctx, d, spec)
			err = k.ask(ctx, spec, &stat, nixd.CommandStat)
		}
		if err != nil { // it may have been stopped meanwhile
			if now, stateErr := k.state(ctx, spec); stateErr == nil && now != Running {
				state, err = now, nil
			}
		}
	}
	if err != nil {
		state = err.Error()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if state == Running {
		d.counted(stat)
	}
	return d.describe(state, info, stat.Pins)
}

// describe is what is known of a store. The caller holds Keeper.mu.
func (d *domain) describe(state string, info nixd.Info, pins map[string]nixd.Share) Store {
	return Store{
		Name: d.Spec.Name(), For: d.Spec.For, Scopes: slices.Clone(d.Scopes), Daemon: state, Jobs: d.users, Info: info, Pins: pins,
		All: d.All, Recent: d.Recent, Dead: d.Dead, LastUsed: d.Used,
	}
}

// counted takes over what a store said is in it.
func (m *memory) counted(s nixd.Stat) {
	m.All, m.Recent, m.Dead = nixd.Share{Paths: s.Paths, Bytes: s.Bytes}, s.Recent, s.Dead
}

func (k *Keeper) state(ctx context.Context, s Spec) (string, error) {
	e, err := k.connect(ctx)
	if err != nil {
		return "", err
	}
	c, err := e.State(ctx, s.Name())
	switch {
	case engineapi.IsAbsent(err), err == nil && !c.Running:
		return Stopped, nil
	case err != nil:
		return "", err
	}
	return Running, nil
}

// stateAfterwards is the state after what is being done with the daemon: one that is being stopped still runs.
func (k *Keeper) stateAfterwards(ctx context.Context, d *domain, s Spec) (string, error) {
	d.making.Lock()
	defer d.making.Unlock()
	return k.state(ctx, s)
}

// Paths lists the paths of a store with what holds each.
func (k *Keeper) Paths(ctx context.Context, name string) (paths []nixd.Path, err error) {
	err = k.within(ctx, name, func(s Spec) error { return k.ask(ctx, s, &paths, nixd.CommandList, "--roots") })
	return paths, err
}

// Pin keeps paths of a store under a name, and returns all of that name's.
func (k *Keeper) Pin(ctx context.Context, name, pin string, paths []string) (all []string, err error) {
	err = k.within(ctx, name, func(s Spec) error {
		return k.ask(ctx, s, &all, append([]string{nixd.CommandPin, pin}, paths...)...)
	})
	return all, err
}

// Unpin takes a name away, and returns its paths.
func (k *Keeper) Unpin(ctx context.Context, name, pin string) (were []string, err error) {
	err = k.within(ctx, name, func(s Spec) error { return k.ask(ctx, s, &were, nixd.CommandUnpin, pin) })
	return were, err
}

// known is the domain of a name that has, or had, a store.
func (k *Keeper) known(name string) (*domain, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.recall()
	d := k.domains[name]
	if d == nil || d.Spec.Domain == "" {
		return nil, fmt.Errorf("%s: %w", name, ErrNoStore)
	}
	return d, nil
}

// Has reports whether there is a store of that name.
func (k *Keeper) Has(name string) bool {
	_, err := k.known(name)
	return err == nil
}

// Sizes are what the volumes with the stores occupy, by name, as it was known last.
func (k *Keeper) Sizes() map[string]int64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.recall()
	sizes := map[string]int64{}
	for _, d := range k.domains {
		if d.All.Bytes > 0 {
			sizes[d.Spec.Volumes().Store] = d.All.Bytes
		}
	}
	return sizes
}

// within does something with a daemon that runs until it is done.
func (k *Keeper) within(ctx context.Context, name string, do func(Spec) error) error {
	d, err := k.known(name)
	if err != nil {
		return err
	}
	defer k.task(d)()
	if err := k.wake(ctx, d); err != nil {
		return err
	}
	k.mu.Lock()
	s := d.Spec
	k.mu.Unlock()
	k.release(ctx, d, s)
	return do(s)
}

// wake starts a daemon for something that is no job, of what the last job had, if it does not run. The caller has a task in it.
func (k *Keeper) wake(ctx context.Context, d *domain) error {
	k.mu.Lock()
	s, image := d.Spec, d.ImageID
	k.mu.Unlock()
	state, err := k.stateAfterwards(ctx, d, s)
	if err == nil && state != Running {
		if err = k.stored(ctx, d, s); errors.Is(err, ErrNoStore) {
			return err
		}
		switch {
		case err != nil:
		case image != "":
			_, err = k.Ensure(ctx, s, image)
		default:
			err = k.rouse(ctx, d, s)
		}
	}
	if err == nil {
		err = k.ask(ctx, s, &nixd.Info{}, nixd.CommandInfo, "--wait=2m")
	}
	if err != nil {
		return fmt.Errorf("the Nix daemon of %s: %w", s.Name(), err)
	}
	return nil
}

// stored reports whether the store is there. One that somebody has removed is forgotten, and not made again before a job
// needs it.
func (k *Keeper) stored(ctx context.Context, d *domain, s Spec) error {
	e, err := k.connect(ctx)
	if err != nil {
		return err
	}
	volumes, err := e.StoredVolumes(ctx, nixspec.LabelDomain, s.Domain)
	if err != nil || slices.ContainsFunc(volumes, func(v engineapi.StoredVolume) bool { return v.Name == s.Volumes().Store }) {
		return err
	}
	k.mu.Lock()
	used := d.users > 0
	k.mu.Unlock()
	if !used {
		k.forgetDomain(d)
	}
	return fmt.Errorf("%s: %w", s.Name(), ErrNoStore)
}

// rouse starts a container as it is.
func (k *Keeper) rouse(ctx context.Context, d *domain, s Spec) error {
	d.making.Lock()
	defer d.making.Unlock()
	e, err := k.connect(ctx)
	if err != nil {
		return err
	}
	c, err := settled(ctx, e, d, s)
	if engineapi.IsAbsent(err) {
		return errors.New("it has no container now; its next job makes one")
	}
	if err != nil || c.Running {
		return err
	}
	if err = e.Start(ctx, s.Name()); err == nil {
		d.stopped = false
	}
	return err
}

// ask runs a command of package nixd in a daemon that runs, and reads its answer.
func (k *Keeper) ask(ctx context.Context, s Spec, answer any, command ...string) error {
	said, err := k.run(ctx, s, command...)
	if err != nil {
		return err
	}
	return understand(s, said, answer)
}

func understand(s Spec, said []byte, answer any) error {
	if err := json.Unmarshal(said, answer); err != nil {
		const enough = 200
		return fmt.Errorf("the Nix daemon in container %s said %.*q: %w", s.Name(), enough, said, err)
	}
	return nil
}

// maxAnswer bounds what a command may say: a store may have hundreds of thousands of paths.
const maxAnswer = 64 << 20

// Run runs a command of the agent's program in a domain's daemon container and returns what it wrote.
func Run(ctx context.Context, e *engineapi.Engine, s Spec, command ...string) ([]byte, error) {
	out, err := e.ExecUpTo(ctx, maxAnswer, s.Name(), "0:0", append([]string{carrier.Exe, nixd.Command}, command...)...)
	var failed *engineapi.ExitError
	if errors.As(err, &failed) { // the program says why, and what to do
		return nil, errors.New(strings.TrimPrefix(failed.Words, "skerry-agent: "))
	}
	return out, err
}
