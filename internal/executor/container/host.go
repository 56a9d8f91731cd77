package container

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/container/carrier"
	"gitlab.com/skerry/skerry/internal/executor/container/disk"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
	"gitlab.com/skerry/skerry/internal/executor/container/generations"
	"gitlab.com/skerry/skerry/internal/executor/container/images"
	"gitlab.com/skerry/skerry/internal/executor/container/nixdaemon"
	"gitlab.com/skerry/skerry/internal/executor/container/podman"
	"gitlab.com/skerry/skerry/internal/executor/container/slot"
)

// Host is what all runner entries of a process share: the connections to engines and what has been
// found out about them. The zero value is ready. It is safe for concurrent use.
type Host struct {
	// Remote takes no engine for local, so that nothing of this machine is mounted into containers.
	Remote bool
	// Podman is the engine that the runner starts itself; nil: none.
	Podman *podman.Service
	// Keychain is where logins for registries are found beside a job's own; nil: what this process's user has.
	Keychain *images.Keychain

	// Evicted is told of what is evicted from the disks of engines, and DiskUsed what the runner occupies there; nil:
	// nobody is.
	Evicted  func(disk.Eviction)
	DiskUsed func(bytes int64)
	// NixSandbox is told whether builds of a Nix store are in Nix's sandbox, NixGone of stores that are removed; nil: nobody is.
	NixSandbox func(store string, on bool)
	NixGone    func(store string)
	// NixPushed is told of pushes to binary caches; nil: nobody is.
	NixPushed func(store string, p nixdaemon.Pushed)
	// LookEvery is how long it is between two looks at a disk, IdleSlots how long a network is kept that no job
	// has; 0: the usual times.
	LookEvery, IdleSlots time.Duration
	// OfferEvery is how long it is at least between two times that images of jobs' own engines are offered to the jobs of
	// a trust domain anew; 0: the usual time.
	OfferEvery time.Duration
	// OfferReserve is how many bytes copies of images leave alone on the disk; 0: as many as usual.
	OfferReserve int64

	// SharedSilence is how long an engine that jobs share may not answer before it is made anew; 0: the usual time.
	SharedSilence time.Duration

	images sync.Mutex // held while a generation of images is chosen for a job, and while another one takes its place; no engine is asked meanwhile
	offers generations.Offers
	builds buildsProfile

	mu      sync.Mutex
	sites   map[engineapi.Address]*site
	pools   map[string]*slot.Pool
	pullers map[string]*images.Puller
	keepers map[string]*disk.Keeper
	stores  map[string]*nixStores
	shared  map[string]*sharedEngine // by their directories
	left    bool                     // Close has been called
	live    map[executor.Ref]bool    // environments that this process has begun and not closed
	leaving map[string]chan struct{} // refs of those that are being closed; closed with their leases
}

// site is what is known of one engine.
type site struct {
	helpers helpers
	carrier carrier.Carrier

	mu      sync.Mutex
	engine  *engineapi.Engine
	attempt *attempt // to connect; nil: nobody tries just now
}

// attempt is one attempt to connect, whose outcome all who wait for it get.
type attempt struct {
	done chan struct{}
	err  error // valid when done is closed
}

func (h *Host) site(a engineapi.Address) *site {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.sites[a]
	if s == nil {
		s = &site{}
		if h.sites == nil {
			h.sites = map[engineapi.Address]*site{}
		}
		h.sites[a] = s
	}
	return s
}

// puller returns what brings images for the environments of a directory.
func (h *Host) puller(dir string) (*images.Puller, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if p := h.pullers[dir]; p != nil {
		return p, nil
	}
	record, err := images.OpenRecord(filepath.Join(dir, ".images", "access.json"), time.Now)
	if err != nil {
		return nil, err
	}
	p := &images.Puller{Record: record}
	if h.Keychain != nil {
		p.Keychain = *h.Keychain
	} else {
		p.Keychain.Getenv = os.Getenv
		p.Keychain.Home, _ = os.UserHomeDir() // without a home there are no files in it
	}
	if h.pullers == nil {
		h.pullers = map[string]*images.Puller{}
	}
	h.pullers[dir] = p
	return p, nil
}

// helper returns the helper image for an engine, see helpers.find.
func (h *Host) helper(ctx context.Context, engine *engineapi.Engine, gone bool, out io.Writer) (string, *engineapi.Image, error) {
	return h.site(engine.Address).helpers.find(ctx, engine, gone, out)
}

// keepSlots is how many networks of one kind are kept while no job has them.
const keepSlots = 8

// pool returns the pool of networks of a kind.
func (h *Host) pool(engine *engineapi.Engine, kind slot.Kind, log *slog.Logger) *slot.Pool {
	key := fmt.Sprintf("%v %+v", engine.Address, kind)
	h.mu.Lock()
	defer h.mu.Unlock()
	p := h.pools[key]
	if p == nil {
		p = slot.NewPool(engine, kind, keepSlots, cmp.Or(h.IdleSlots, slot.IdleFor), log)
		if h.pools == nil {
			h.pools = map[string]*slot.Pool{}
		}
		h.pools[key] = p
	}
	return p
}

// knows reports whether a network is one that this process has made and cares for.
func (h *Host) knows(name string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, p := range h.pools {
		if p.Knows(name) {
			return true
		}
	}
	return false
}

// begun and alive remember the environments of this process: what is removed because no journaled job
// needed it at the start is none of theirs.
func (h *Host) begun(ref executor.Ref) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.live == nil {
		h.live = map[executor.Ref]bool{}
	}
	h.live[ref] = true
}

func (h *Host) alive(ref executor.Ref) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.live[ref]
}

// all are those of an owner.
func (h *Host) all(owner executor.OwnerID) []executor.Ref {
	h.mu.Lock()
	defer h.mu.Unlock()
	var refs []executor.Ref
	for ref := range h.live {
		if ref.Owner == owner {
			refs = append(refs, ref)
		}
	}
	return refs
}

func (h *Host) ended(ref executor.Ref) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.live, ref)
}

// engine returns the connection to the engine at a, made once. A failure is not remembered, and who
// waits for one engine keeps nobody from another.
func (h *Host) engine(ctx context.Context, a engineapi.Address) (*engineapi.Engine, error) {
	s := h.site(a)
	s.mu.Lock()
	if e := s.engine; e != nil {
		s.mu.Unlock()
		return e, nil
	}
	t := s.attempt
	if t == nil {
		t = &attempt{done: make(chan struct{})}
		s.attempt = t
		go h.connect(context.WithoutCancel(ctx), a, s, t) // Connect bounds it
	}
	s.mu.Unlock()
	select {
	case <-t.done:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.engine == nil && t.err == nil {
		return nil, errClosed
	}
	return s.engine, t.err
}

var errClosed = errors.New("the connections to container engines have been closed")

func (h *Host) connect(ctx context.Context, a engineapi.Address, s *site, t *attempt) {
	var revive func(context.Context) error
	if h.Podman != nil && h.Podman.Address() == a.Host {
		revive = h.Podman.Ensure
	}
	e, err := engineapi.Connect(ctx, a, revive)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.engine, t.err, s.attempt = e, err, nil
	close(t.done)
}

// Reachable reports why no job should be asked for that needs the engine at a: it is not there. It asks the
// engine itself unless there was a sign of life just now, and does not wait for it.
func (h *Host) Reachable(ctx context.Context, a engineapi.Address) error {
	s := h.site(a)
	s.mu.Lock()
	e := s.engine
	s.mu.Unlock()
	if h.Podman != nil && h.Podman.Address() == a.Host {
		if e != nil {
			return nil // it is started again when it is needed
		}
		_, err := h.engine(ctx, a)
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, reachTime)
	defer cancel()
	return engineapi.Ping(ctx, a, reachFresh, e)
}

const (
	reachTime  = 5 * time.Second  // an engine that takes longer is not there
	reachFresh = 15 * time.Second // a sign of life counts for so long
)

// StopOffers has no more images of jobs' own engines copied for later jobs, and ends what copies are being made: their environments are
// closed at once then. It may be called more than once.
func (h *Host) StopOffers() { h.offers.Close() }

// Close removes the networks that nobody uses and closes the connections.
func (h *Host) Close(ctx context.Context) error {
	h.StopOffers()
	h.mu.Lock()
	keepers, stores := h.keepers, h.stores
	h.keepers, h.stores, h.left = nil, nil, true
	h.mu.Unlock()
	for _, k := range keepers {
		k.Close()
	}
	for _, s := range stores {
		s.keeper.Close()
	}
	all := h.closeShared(ctx)
	h.mu.Lock()
	pools, sites := h.pools, h.sites
	h.pools, h.sites = nil, nil
	h.mu.Unlock()
	var closing sync.WaitGroup
	errs := make(chan error, len(pools))
	for _, p := range pools {
		closing.Go(func() { errs <- p.Close(ctx) })
	}
	closing.Wait()
	close(errs)
	for err := range errs {
		all = errors.Join(all, err)
	}
	for _, s := range sites {
		s.carrier.Wait()
		s.mu.Lock()
		if s.engine != nil {
			_ = s.engine.Close()
		}
		s.engine = nil
		s.mu.Unlock()
	}
	return all
}
