package fake

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log"
	"net"
	"net/http"
	"sync"

	"gitlab.com/skerry/skerry/internal/agent/wire"
	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/stage"
)

// agent is one scripted agent.
type agent struct {
	pid    int
	place  executor.Place
	script Script
	listen *listener
	server *http.Server
	group  sync.WaitGroup

	mu       sync.Mutex
	died     error
	epoch    int64
	runs     map[string]*run
	archives map[string]string
	conns    []net.Conn
}

// newAgent starts an agent; it ends with end, and not with ctx, whose values it takes.
func newAgent(ctx context.Context, pid int, place executor.Place, s Script) *agent {
	a := &agent{
		pid: pid, place: place, script: s, listen: newListener(),
		runs: map[string]*run{}, archives: map[string]string{},
	}
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	base := context.WithoutCancel(ctx)
	a.server = &http.Server{ //nolint:gosec // the peer is the test
		Handler: a.routes(), Protocols: protocols, ErrorLog: log.New(discard{}, "", 0),
		BaseContext: func(net.Listener) context.Context { return base },
	}
	a.group.Go(func() { _ = a.server.Serve(a.listen) }) // ends with end
	return a
}

// discard is where the server's own complaints about hostile handlers go.
type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

func (a *agent) death() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.died
}

func (a *agent) dial(ctx context.Context) (net.Conn, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	ours, theirs := net.Pipe()
	a.mu.Lock()
	died := a.died
	if died == nil {
		a.conns = append(a.conns, ours)
		if a.script.Connection != nil {
			a.group.Go(func() { a.script.Connection(a.place, ours) })
		}
	}
	a.mu.Unlock()
	if died != nil {
		return nil, died
	}
	if a.script.Connection != nil {
		return theirs, nil
	}
	select {
	case a.listen.conns <- ours:
		return theirs, nil
	case <-a.listen.over:
		return nil, a.death()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// end kills the agent. The first reason stays.
func (a *agent) end(why error) {
	a.mu.Lock()
	if a.died == nil {
		a.died = why
	}
	conns, runs := a.conns, a.runs
	a.conns = nil
	for _, r := range runs {
		r.end(wire.Cancel{Reason: stage.Canceled})
	}
	a.mu.Unlock()
	_ = a.listen.Close()
	_ = a.server.Close() // ends Serve
	for _, c := range conns {
		_ = c.Close()
	}
}

// wait returns when everything that the agent started has ended.
func (a *agent) wait() { a.group.Wait() }

var errEnded = errors.New("the agent is ending")

// start starts a stage unless it has been started.
func (a *agent) start(spec stage.Spec) (*run, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.died != nil {
		return nil, errEnded
	}
	if r := a.runs[spec.ID]; r != nil {
		return r, nil
	}
	r := newRun()
	a.runs[spec.ID] = r
	do, ok := a.script.Stages[spec.ID]
	if !ok {
		do = a.script.Else
	}
	s := &Stage{Spec: spec, Place: a.place, a: a, run: r}
	a.group.Go(func() { r.perform(s, do) })
	return r, nil
}

func (a *agent) find(id string) *run {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.runs[id]
}

// enter reports whether requests of epoch are obeyed.
func (a *agent) enter(epoch int64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.epoch = max(a.epoch, epoch)
	return epoch == a.epoch
}

func (a *agent) store(name, content string) stage.Archive {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.archives[name] = content
	sum := sha256.Sum256([]byte(content))
	return stage.Archive{Name: name, Size: int64(len(content)), SHA256: hex.EncodeToString(sum[:]), Files: 1}
}

func (a *agent) stored(name string) (string, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	content, ok := a.archives[name]
	return content, ok
}
