package fake

import (
	"context"
	"net"
	"sync"

	"gitlab.com/skerry/skerry/internal/executor"
)

// environment is two agents.
type environment struct {
	m      *Machine
	ref    executor.Ref
	agents map[executor.Place]*agent
}

// Dial implements executor.Environment.
func (v *environment) Dial(ctx context.Context, place executor.Place) (net.Conn, error) {
	return v.agents[place].dial(ctx)
}

// Diagnose implements executor.Environment.
func (v *environment) Diagnose(_ context.Context, place executor.Place) error {
	return v.agents[place].death()
}

// Close implements executor.Environment.
func (v *environment) Close(context.Context) error {
	v.m.remove(v.ref)
	return nil
}

// listener hands the server the agent's ends of the connections.
type listener struct {
	conns chan net.Conn
	once  sync.Once
	over  chan struct{}
}

func newListener() *listener { return &listener{conns: make(chan net.Conn), over: make(chan struct{})} }

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.over:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *listener) Close() error {
	l.once.Do(func() { close(l.over) })
	return nil
}

// Addr implements net.Listener.
func (l *listener) Addr() net.Addr { return address{} }

type address struct{}

func (address) Network() string { return "fake" }
func (address) String() string  { return "fake" }
