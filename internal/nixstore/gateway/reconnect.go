package gateway

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"gitlab.com/skerry/skerry/internal/nixstore/nixconn"
	"gitlab.com/skerry/skerry/internal/nixstore/nixwire"
)

// maxRoots bounds how many temporary roots of a client's own are remembered for a daemon that restarts.
const maxRoots = 1 << 16

// remember keeps what the daemon has to be told again when it restarts.
func (s *session) remember(op nixwire.Op, request []nixwire.Token) {
	switch op { //nolint:exhaustive // nothing else outlasts its operation
	case nixwire.SetOptions:
		s.set = request
	case nixwire.AddTempRoot:
		s.asked++
		if len(s.roots) < maxRoots {
			s.roots = append(s.roots, nixconn.Paths(request)...)
		}
	}
}

// revive replaces a connection to the daemon that was lost while the client asked for nothing: it need not know. One on which
// the daemon has said something meanwhile is lost, too: its end may still have to be noticed.
func (s *session) revive(ctx context.Context) error {
	if !s.gone.Load() && s.up.Silent() {
		return nil
	}
	up, offer, err := s.g.dial.Dial(ctx)
	if err != nil {
		return err
	}
	v, _, err := s.agree(up, offer)
	if err == nil {
		err = up.Last(s.relay)
	}
	if err == nil && (v.Number != s.v.Number || !slices.Equal(v.Features, s.v.Features)) {
		err = fmt.Errorf("the Nix daemon was replaced by one that speaks protocol %s instead of %s", v, s.v)
	}
	if err == nil && s.set != nil {
		up.W.Uint64(uint64(nixwire.SetOptions))
		nixwire.Write(up.W, s.set)
		if err = up.W.Flush(); err == nil {
			err = up.Last(s.relay)
		}
	}
	if err == nil {
		err = up.Each(s.v, nixwire.AddTempRoot, s.roots, s.relay, nil)
	}
	if err != nil {
		return errors.Join(err, up.Close())
	}
	return s.adopt(ctx, up)
}

// adopt takes over a connection to the daemon, in place of one that was lost.
func (s *session) adopt(ctx context.Context, up *nixconn.Conn) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errors.Join(context.Cause(ctx), errEnd, up.Close()) // nobody needs it
	}
	if s.up != nil {
		s.forget()
		_ = s.up.Close() // it was lost
	}
	s.gone.Store(false)
	s.up = up
	s.client.R.OnWait(up.W.Flush)
	up.R.OnWait(s.client.W.Flush)
	forget, err := s.g.hangups.Watch(up.UnixConn, func() { s.gone.Store(true) })
	if err != nil {
		forget = func() {}
	}
	s.forget = forget
	return err
}

// again reports whether an operation that ended with err may be asked for again, after telling the client: the daemon
// was lost, and all that a request in one piece asks for can be asked twice. What a daemon says that is told to end
// counts as its loss.
func (s *session) again(ctx context.Context, err error) bool {
	var failed *nixconn.FailureError
	var bad *nixwire.MalformedError
	switch {
	case err == nil, ctx.Err() != nil, s.client.W.Err() != nil, errors.As(err, &bad):
		return false
	case errors.As(err, &failed) && !strings.Contains(failed.Message.Text, "interrupted by the user"):
		return false
	}
	s.g.warn("The Nix daemon was lost in the middle of an operation, which is asked for again", err)
	m := nixwire.Message{Kind: nixwire.Next, Text: "warning: the Nix daemon was restarted; asking again\n"}
	m.Write(s.client.W)
	s.gone.Store(true)
	return true
}
