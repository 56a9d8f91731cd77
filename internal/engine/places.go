package engine

import (
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"gitlab.com/skerry/skerry/internal/agent/client"
	"gitlab.com/skerry/skerry/internal/agent/wire"
	"gitlab.com/skerry/skerry/internal/boottime"
	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/trace"
)

// errClosed is asking for an agent whose environment is being removed.
var errClosed = errors.New("the job's environment is closed")

// places are the connections to the agents of a job's environment. They are used by the job's work
// and by the log, which reads the agents' spools beside it and may ask before there is an environment.
type places struct {
	handover func() wire.Handover

	ready chan struct{} // closed when env or failed is set for the first time
	once  sync.Once

	mu      sync.Mutex
	env     executor.Environment
	found   bool  // there was an env
	failed  error // there is no environment, or it died
	clients map[executor.Place]*client.Client
	hosts   map[executor.Place]string
	users   map[executor.Place]user
	nix     *client.Client // of the agent that keeps the job's gateway to a Nix daemon; nil: none
}

// user is whom the processes of a place belong to.
type user struct{ uid, gid int }

func newPlaces(handover func() wire.Handover) *places {
	return &places{
		handover: handover, ready: make(chan struct{}),
		clients: map[executor.Place]*client.Client{}, hosts: map[executor.Place]string{}, users: map[executor.Place]user{},
	}
}

// open says that the environment can be dialled.
func (p *places) open(env executor.Environment) {
	p.mu.Lock()
	p.env, p.found = env, true
	p.mu.Unlock()
	p.once.Do(func() { close(p.ready) })
}

// fail says that there is no environment any more, and why. The first reason stays.
func (p *places) fail(err error) {
	p.mu.Lock()
	if p.failed == nil {
		p.failed = err
	}
	p.mu.Unlock()
	p.once.Do(func() { close(p.ready) })
}

// opened reports whether there was an environment, be it closed by now.
func (p *places) opened() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.found
}

// failure is why there is no environment, nil while there may be one.
func (p *places) failure() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failed
}

// agent returns the connection to place's agent. The first call for a place hands the job over to it.
func (p *places) agent(ctx context.Context, place executor.Place) (*client.Client, error) {
	select {
	case <-p.ready:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	p.mu.Lock()
	c, env, failed := p.clients[place], p.env, p.failed
	p.mu.Unlock()
	if failed != nil {
		return nil, failed
	}
	if c != nil {
		return c, nil
	}
	if env == nil {
		return nil, errClosed
	}
	handover := p.handover()
	c = client.New(func(ctx context.Context) (net.Conn, error) { return env.Dial(ctx, place) }, handover.Epoch)
	hello, err := meet(ctx, c, handover)
	if err != nil {
		c.Close()
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if first := p.clients[place]; first != nil {
		c.Close()
		return first, nil
	}
	p.clients[place], p.hosts[place], p.users[place] = c, words(hello.Host, maxHost), user{hello.UID, hello.GID}
	if hello.Nix && place == executor.Helper { // what a build place says is the job's own word
		p.nix = c
	}
	return c, nil
}

// meet hands the job over. An agent that is too slow for the connection (it is frozen, or the machine
// overloaded) is asked again; one that the executor cannot reach is not.
func meet(ctx context.Context, c *client.Client, handover wire.Handover) (wire.Hello, error) {
	for attempt := 1; ; attempt++ {
		hello, err := c.Hello(ctx)
		if err == nil {
			err = c.Handover(ctx, handover)
		}
		if err == nil || attempt == startAttempts || !errors.Is(err, client.ErrUnreachable) || client.DialFailed(err) ||
			!sleep(ctx, time.Duration(attempt)*100*time.Millisecond) {
			return hello, err
		}
	}
}

// extend gives the agents at least so much time before the job's deadline.
func (p *places) extend(ctx context.Context, left time.Duration) {
	handover := p.handover()
	if handover.Left > left {
		return
	}
	handover.Left = left
	p.mu.Lock()
	clients := slices.Collect(maps.Values(p.clients))
	p.mu.Unlock()
	for _, c := range clients {
		_ = c.Handover(ctx, handover) // an agent that cannot be reached fails the stage that follows
	}
}

// host is the name of the machine that place's agent runs on, as the agent says it.
func (p *places) host(place executor.Place) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.hosts[place]
}

// user is whom the processes of place belong to, as its agent says it.
func (p *places) user(place executor.Place) user {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.users[place]
}

// nixAgent is the connection to the agent that keeps the job's gateway to a Nix daemon; nil: there is none, or its
// environment is gone.
func (p *places) nixAgent() *client.Client {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failed != nil || p.env == nil {
		return nil
	}
	return p.nix
}

// disconnect closes the connections to the agents, which go on.
func (p *places) disconnect() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.clients {
		c.Close()
	}
}

// take returns the environment, once, and closes the connections to its agents.
func (p *places) take() executor.Environment {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.clients {
		c.Close()
	}
	env := p.env
	p.env, p.clients = nil, map[executor.Place]*client.Client{}
	return env
}

// connect returns a connection of its own to place's agent, once the environment is there. The caller closes it.
func (p *places) connect(ctx context.Context, place executor.Place) (*client.Client, error) {
	if _, err := p.agent(ctx, place); err != nil { // hands the job over
		return nil, err
	}
	p.mu.Lock()
	env := p.env
	p.mu.Unlock()
	if env == nil {
		return nil, errClosed
	}
	return client.New(func(ctx context.Context) (net.Conn, error) { return env.Dial(ctx, place) }, p.handover().Epoch), nil
}

// renew hands the job over again to the agents of all places, which renews their leases. An agent that cannot be reached is
// left to its fate.
func (p *places) renew(ctx context.Context) {
	for _, place := range []executor.Place{executor.Helper, executor.Build} {
		if c, err := p.agent(ctx, place); err == nil {
			_ = c.Handover(ctx, p.handover())
		}
	}
}

// diagnose asks the executor why place died.
func (p *places) diagnose(ctx context.Context, place executor.Place) error {
	p.mu.Lock()
	env := p.env
	p.mu.Unlock()
	if env == nil {
		return nil
	}
	return env.Diagnose(ctx, place)
}

// adoptedTime is what an adopted job has at least once a stage of it is known to have ended: its script may
// have ended in time while no runner was there, and what is left to do (cache, artifacts) shall not make
// a timeout of that. A stage that still runs gets none of it, or every restart would prolong the timeout.
const adoptedTime = 2 * time.Minute

// left is what remains of the job's time for the stage in hand; a moment when nothing does, since an agent
// takes 0 for no limit.
func (x *execution) left() time.Duration {
	granted := time.Duration(x.granted.Load())
	if granted > 0 {
		granted -= boottime.Now()
	}
	return max(time.Millisecond, x.plan.Timeout-x.clock.elapsed(), granted)
}

// limit is what remains for everything that this process does of the job.
func (x *execution) limit() time.Duration {
	if x.adopted {
		return max(adoptedTime, x.left())
	}
	return max(time.Second, x.left())
}

// grant gives an adopted job the time for what follows a stage that has ended.
func (x *execution) grant(ctx context.Context) {
	if !x.adopted || x.granted.Load() > 0 || x.left() >= adoptedTime {
		return
	}
	x.granted.Store(int64(boottime.Now() + adoptedTime))
	x.places.extend(ctx, adoptedTime)
}

// overdue reports whether the job's timeout is over.
func (x *execution) overdue() bool { return x.plan.Timeout-x.clock.elapsed() < time.Second }

// OpenSpool implements trace.Spools. A spool whose place is dead for good is given up.
func (x *execution) OpenSpool(ctx context.Context, place, stage string, from int64) (io.ReadCloser, error) {
	agent, err := x.places.agent(ctx, executor.Place(place))
	if err != nil {
		if gone := x.places.failure(); gone != nil {
			x.abandon(place, stage, gone)
		}
		return nil, err
	}
	r, err := agent.OpenSpool(ctx, stage, from)
	var refused *client.RefusedError
	if errors.As(err, &refused) && refused.Status == http.StatusRequestedRangeNotSatisfiable {
		return nil, &trace.TrimmedError{First: -1}
	}
	return r, err
}

// AckSpool implements trace.Spools.
func (x *execution) AckSpool(ctx context.Context, place, stage string, to int64) error {
	agent, err := x.places.agent(ctx, executor.Place(place))
	if err != nil {
		return err
	}
	return agent.Ack(ctx, stage, to)
}
