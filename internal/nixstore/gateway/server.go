package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"gitlab.com/skerry/skerry/internal/nixstore/hold"
	"gitlab.com/skerry/skerry/internal/nixstore/nixconn"
	"gitlab.com/skerry/skerry/internal/nixstore/nixwire"
	"gitlab.com/skerry/skerry/internal/nixstore/view"
)

// Gateway serves one job.
type Gateway struct {
	c       Config
	log     *slog.Logger
	listen  *listener
	dial    nixconn.Dialer
	hangups *nixconn.Hangups
	ledger  *hold.Ledger
	view    *view.View    // nil: the job sees the whole store
	known   chan struct{} // closed when what the job knows from the beginning is held and shown, or cannot be
	counter counter
	told    told
	warned  atomic.Int32  // how often clients have made us warn
	places  chan struct{} // one value for each connection that is served
	queue   chan struct{} // one value for each connection that is accepted
	large   chan struct{} // one value for each request of much memory
}

// queueLength is how many connections may be accepted for each that is served; more wait in the kernel.
const queueLength = 2

// largeRequests is how many requests may take more than largeSize bytes at once.
const (
	largeRequests = 4
	largeSize     = 2 << 20
)

// New checks the configuration and makes the socket: clients may connect from now on. Serve must follow.
func New(c Config, log *slog.Logger) (*Gateway, error) {
	c, err := c.complete()
	if err != nil {
		return nil, fmt.Errorf("the Nix gateway's configuration: %w", err)
	}
	h, err := nixconn.NewHangups()
	if err != nil {
		return nil, err
	}
	log = newFew(log, maxSaid)
	g := &Gateway{
		c: c, log: log, hangups: h, dial: nixconn.Dialer{Socket: c.Upstream, Wait: c.Wait, Unprivileged: c.Unprivileged},
		places: make(chan struct{}, c.MaxConns), queue: make(chan struct{}, queueLength*c.MaxConns), large: make(chan struct{}, largeRequests),
		known: make(chan struct{}),
	}
	var holder hold.Holder = hold.NewKept(g.dial, h, log)
	switch {
	case c.Holder != "":
		holder = hold.NewRemote(c.Holder, c.Job, c.Wait)
	case c.Roots != "":
		if holder, err = hold.NewLinks(c.Roots, c.Job); err != nil {
			h.Close()
			return nil, err
		}
	}
	g.ledger = hold.NewLedger(holder)
	if c.View != "" {
		g.view, err = view.New(c.Store, c.View)
	}
	if err == nil {
		g.listen, err = listen(c.Listen)
	}
	if err != nil {
		g.closeView()
		h.Close()
		return nil, errors.Join(err, holder.Close())
	}
	return g, nil
}

// Usage is what the job has had of the store so far. It may be called at any time, also after Serve has returned.
func (g *Gateway) Usage() Usage { return g.counter.read() }

// Held are the store paths that are held for the job, in no order.
func (g *Gateway) Held() []string {
	var all []string
	for _, p := range g.ledger.Held() {
		all = append(all, string(p))
	}
	return all
}

// Serve serves clients until ctx ends; then it closes all connections, which ends what the daemon does for them, and
// waits for everything that it has started. The links of Roots stay.
func (g *Gateway) Serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = g.listen.Close() })
	defer stop()
	var sessions sync.WaitGroup
	sessions.Go(func() { g.know(ctx) })
	err := g.accept(ctx, &sessions)
	cancel()
	sessions.Wait()
	g.closeView()
	g.hangups.Close()
	return errors.Join(err, g.ledger.Close())
}

func (g *Gateway) closeView() {
	if g.view != nil {
		g.view.Close()
	}
}

// know holds and shows what the job knows before it asks.
func (g *Gateway) know(ctx context.Context) {
	defer close(g.known)
	valid := map[nixwire.StorePath]bool{}
	for _, known := range g.c.Known {
		base, _, _ := strings.Cut(strings.TrimPrefix(known, nixwire.StoreDir+"/"), "/")
		if p, err := nixwire.FromBase(base); err == nil {
			valid[p] = true
		}
	}
	if len(valid) == 0 {
		return
	}
	fresh, err := g.ledger.Begin(ctx, slices.Collect(maps.Keys(valid)))
	if err == nil {
		if err = g.showKnown(ctx, valid); err != nil {
			valid = nil // it is held and shown when it is asked for
		}
	}
	g.ledger.End(fresh, valid)
	if err != nil && ctx.Err() == nil {
		g.log.Warn("Store paths that the job is given from the beginning are not held, or not shown to it", "error", err)
	}
}

func (g *Gateway) accept(ctx context.Context, sessions *sync.WaitGroup) error {
	for {
		select {
		case g.queue <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		conn, err := g.listen.AcceptUnix()
		if err != nil {
			<-g.queue
			if ctx.Err() != nil {
				return nil //nolint:nilerr // it was told to end
			}
			if errors.Is(err, os.ErrDeadlineExceeded) || isTemporary(err) {
				g.log.Warn("The Nix gateway could not accept a connection", "error", err)
				if !pause(ctx) {
					return nil
				}
				continue
			}
			return fmt.Errorf("serve Nix: %w", err)
		}
		sessions.Go(func() {
			defer func() { <-g.queue }()
			g.serve(ctx, conn)
		})
	}
}

// serve serves one connection and closes it.
func (g *Gateway) serve(ctx context.Context, conn *net.UnixConn) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	g.counter.connected()
	s := &session{g: g, client: nixconn.New(conn)}
	stop := context.AfterFunc(ctx, func() { s.close() })
	defer func() {
		stop()
		s.close()
	}()
	forget, err := g.hangups.Watch(conn, func() { cancel(errHangup) })
	if err != nil {
		g.warn("The Nix gateway cannot serve a connection", err)
		return
	}
	defer forget()
	if err := s.run(ctx); err != nil && ctx.Err() == nil {
		var bad *nixwire.MalformedError
		if errors.As(err, &bad) {
			g.warn("The Nix gateway ended a connection", err)
		}
	}
}

var errHangup = errors.New("the client is gone")

// maxWarnings is how often the operator is warned of what clients do, who could fill a disk with it.
const maxWarnings = 50

// warn tells the operator of something that a client may bring about.
func (g *Gateway) warn(message string, err error) {
	switch n := g.warned.Add(1); {
	case n < maxWarnings:
		g.log.Warn(message, "error", err)
	case n == maxWarnings:
		g.log.Warn(message+"; more of this kind is not told", "error", err)
	}
}

// place waits for the session's turn.
func (g *Gateway) place(ctx context.Context) (release func(), err error) {
	select {
	case g.places <- struct{}{}:
		return func() { <-g.places }, nil
	default:
	}
	over, cancel := context.WithTimeout(ctx, g.c.Wait)
	defer cancel()
	select {
	case g.places <- struct{}{}:
		return func() { <-g.places }, nil
	case <-over.Done():
		return nil, fmt.Errorf("This job has %d connections to its Nix daemon open already, which is as many as it may have, and none of them was closed within %s. Use fewer at once", g.c.MaxConns, g.c.Wait) //nolint:staticcheck // for people
	}
}
