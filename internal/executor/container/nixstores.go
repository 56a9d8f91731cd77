package container

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
	"gitlab.com/skerry/skerry/internal/executor/container/nixdaemon"
	"gitlab.com/skerry/skerry/internal/executor/container/nixspec"
)

// nixStores are the stores of one engine.
type nixStores struct {
	engine engineapi.Address
	keeper *nixdaemon.Keeper
}

// nixKeeper is what keeps the Nix daemons of the executor's engine, for all runner entries.
func (e *Executor) nixKeeper() *nixdaemon.Keeper {
	h := e.host
	h.mu.Lock()
	defer h.mu.Unlock()
	key := e.nixRecord()
	if s := h.stores[key]; s != nil {
		return s.keeper
	}
	dir := e.o.Dir
	k := nixdaemon.New(nixdaemon.Options{
		Engine: func(ctx context.Context) (*engineapi.Engine, error) { return h.engine(ctx, e.o.Engine) },
		Live:   func(domain string) ([]string, error) { return nixJobs(dir, domain) },
		Log:    e.log, Path: key, Sandbox: h.NixSandbox, Gone: h.NixGone, Pushed: h.NixPushed,
	})
	if h.stores == nil {
		h.stores = map[string]*nixStores{}
	}
	h.stores[key] = &nixStores{engine: e.o.Engine, keeper: k}
	if h.left {
		k.Close()
	}
	return k
}

// nixRecord is where the stores of the executor's engine are remembered.
func (e *Executor) nixRecord() string {
	address := sha256.Sum256([]byte(e.o.Engine.Host))
	return filepath.Join(nixRecords(e.o.Dir), hex.EncodeToString(address[:6])+".json")
}

func nixRecords(dir string) string { return filepath.Join(dir, ".nix") }

// nixJobs are the jobs that have a domain, or may, as their gateways name themselves: those of all environments on this
// machine that are written down.
func nixJobs(dir, domain string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list environments: %w", err)
	}
	var jobs []string
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), ".") {
			continue // what is being written down has nothing yet
		}
		b, err := readBlueprint(filepath.Join(dir, entry.Name()))
		switch {
		case errors.Is(err, fs.ErrNotExist): // it is gone, or none of ours
		case err != nil:
			jobs = append(jobs, entry.Name()) // nobody can tell: it keeps what it has
		case b.Nix != nil && b.Nix.Domain == domain:
			jobs = append(jobs, b.Ref.ID)
		}
	}
	return jobs, nil
}

// adoptNix takes over what an earlier process has left of daemons.
func (e *Executor) adoptNix(owner executor.OwnerID, containers []engineapi.Thing, left func(engineapi.Thing) bool) {
	var names []string
	for _, c := range containers {
		if c.Labels[labelPart] == nixspec.PartDaemon && c.Labels[labelRef] == "" {
			names = append(names, c.Name)
		}
	}
	e.nixKeeper().Adopt(string(owner), names, func(labels map[string]string) bool { return left(engineapi.Thing{Labels: labels}) })
}

// warnOfNix tells the job's author that builds are without Nix's sandbox, once that is known. Nothing waits for it.
func (v *environment) warnOfNix(ctx context.Context) {
	spec := v.nixSpec()
	v.making.Go(func() {
		if why, off := v.nix().Unsandboxed(ctx, spec); off {
			fmt.Fprintf(v.out, "\x1b[0;33mWARNING: Nix builds without its sandbox here (%s): what is built may depend on the machine that builds it\x1b[0;m\n", strings.Join(strings.Fields(why), " "))
		}
	})
}

// NixStore is a store with the engine that has it.
type NixStore struct {
	nixdaemon.Store

	Engine engineapi.Address
}

// NixStores describes the Nix stores of all engines that this process has had to do with, by name. No daemon is started for it.
func (h *Host) NixStores(ctx context.Context) []NixStore {
	return h.listNix(func(k *nixdaemon.Keeper) []nixdaemon.Store { return k.Stores(ctx) })
}

// KnownNixStores is NixStores without asking any engine or daemon: see nixdaemon.Keeper.Known.
func (h *Host) KnownNixStores() []NixStore { return h.listNix((*nixdaemon.Keeper).Known) }

func (h *Host) listNix(list func(*nixdaemon.Keeper) []nixdaemon.Store) []NixStore {
	var all []NixStore
	for _, s := range h.nixStores() {
		for _, store := range list(s.keeper) {
			all = append(all, NixStore{Store: store, Engine: s.engine})
		}
	}
	slices.SortFunc(all, func(a, b NixStore) int { return strings.Compare(a.Name, b.Name) })
	return all
}

func (h *Host) nixStores() []*nixStores {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Collect(maps.Values(h.stores))
}

// NixKeeper is the keeper of a store. The error wraps nixdaemon.ErrNoStore when there is none.
func (h *Host) NixKeeper(store string) (*nixdaemon.Keeper, error) {
	for _, s := range h.nixStores() {
		if s.keeper.Has(store) {
			return s.keeper, nil
		}
	}
	return nil, fmt.Errorf("%s: %w", store, nixdaemon.ErrNoStore)
}

// NixAgents are the agents' programs that Nix daemons have which an earlier process has made, in the environments'
// directory dir: they must stay as long as these.
func NixAgents(dir string) ([]string, error) {
	records, err := filepath.Glob(filepath.Join(nixRecords(dir), "*.json"))
	var agents []string
	for _, path := range records {
		r, readErr := nixdaemon.Remember(path)
		err = errors.Join(err, readErr)
		agents = append(agents, r.Agents...)
	}
	return agents, err
}
