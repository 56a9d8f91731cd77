package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"gitlab.com/skerry/skerry/internal/nixstore/nixconn"
	"gitlab.com/skerry/skerry/internal/nixstore/nixwire"
	"gitlab.com/skerry/skerry/internal/nixstore/view"
)

// session is one connection of a client, with its own to the daemon.
type session struct {
	g      *Gateway
	client *nixconn.Conn
	v      nixwire.Version
	hello  nixwire.Hello

	mu     sync.Mutex // of what close needs
	closed bool
	up     *nixconn.Conn
	forget func() // ends the watch over up

	gone  atomic.Bool         // up was lost
	set   []nixwire.Token     // the options that the daemon was given
	roots []nixwire.StorePath // temporary roots that the client has asked for
	asked int                 // how many temporary roots the daemon has made for requests of the client
	made  made                // by the operation in hand
}

// errEnd ends a connection after the client has been told why.
var errEnd = errors.New("the connection was ended")

// close closes both connections; whoever waits for one of them comes back. It may be called again.
func (s *session) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	_ = s.client.Close() // a second time, or nothing to lose
	if s.up != nil {
		s.forget()
		_ = s.up.Close()
	}
}

// run serves the client until one side is gone.
func (s *session) run(ctx context.Context) error {
	_ = s.client.SetDeadline(time.Now().Add(s.g.c.Handshake)) // of an open connection
	if err := nixwire.ReadGreeting(s.client.R); err != nil {
		return err
	}
	_ = s.client.SetDeadline(time.Time{})
	release, err := s.g.place(ctx)
	if err != nil {
		return s.turnAway(err)
	}
	defer release()
	up, offer, err := s.g.dial.Dial(ctx)
	if err != nil {
		return s.turnAway(err)
	}
	if err := s.adopt(ctx, up); err != nil {
		return err
	}
	if err := s.handshake(offer); err != nil {
		return err
	}
	for {
		op, err := s.client.R.Uint64()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = s.operation(ctx, nixwire.Op(op))
		}
		if err != nil {
			return s.explain(err)
		}
	}
}

// handshake brings client and daemon to the same version.
func (s *session) handshake(offer uint16) error {
	_ = s.client.SetDeadline(time.Now().Add(s.g.c.Handshake)) // of an open connection
	if offer < nixwire.Oldest {
		return s.turnAway(&nixconn.OldError{Offer: offer})
	}
	v, err := nixwire.Offer(s.client.R, s.client.W, min(offer, nixwire.Newest))
	if err != nil {
		return err
	}
	var refuse error
	if v.Number < nixwire.Oldest {
		refuse = fmt.Errorf("This Nix is too old: it speaks protocol %s, and Skerry's gateway needs %s (Nix 2.4) or later", //nolint:staticcheck // for people
			nixwire.VersionString(v.Number), nixwire.VersionString(nixwire.Oldest))
	}
	s.v = v
	if refuse == nil {
		s.v, s.hello, refuse = s.agree(s.up, offer)
	}
	if refuse != nil {
		s.v = nixwire.Version{Number: v.Number}
	}
	if err := nixwire.Welcome(s.client.R, s.client.W, s.v, s.hello); err != nil {
		return err
	}
	if refuse == nil {
		refuse = s.up.Last(s.relay)
	}
	if refuse != nil {
		s.g.warn("The Nix gateway turned a client away", refuse)
		return errors.Join(s.fail(refuse), errEnd)
	}
	s.client.W.Uint64(nixwire.Last)
	if err := s.client.W.Flush(); err != nil {
		return err
	}
	return s.client.SetDeadline(time.Time{})
}

// agree brings the daemon to the client's version, s.v. An older client's daemon is spoken to in version 1.35, where it has
// that: there it says whether it trusts us, Lix speaks no other, and but for the handshake nothing has changed since Oldest.
func (s *session) agree(up *nixconn.Conn, offer uint16) (nixwire.Version, nixwire.Hello, error) {
	const told = 1<<8 | 35
	if s.v.Number >= told || offer < told {
		return up.Agree(s.v, offer)
	}
	v, hello, err := up.Agree(nixwire.Version{Number: told}, offer)
	v.Number = s.v.Number
	return v, hello, err
}

// turnAway tells a client that has said no more than its greeting why it is not served.
func (s *session) turnAway(why error) error {
	_ = s.client.SetDeadline(time.Now().Add(s.g.c.Handshake)) // of an open connection
	v, err := nixwire.Offer(s.client.R, s.client.W, nixwire.Newest)
	if err != nil {
		return err
	}
	v.Features, s.v = nil, v
	if err := nixwire.Welcome(s.client.R, s.client.W, v, nixwire.Hello{Nix: "skerry", Trust: nixwire.NotTrusted}); err != nil {
		return err
	}
	s.g.warn("The Nix gateway turned a client away", why)
	return errors.Join(s.fail(why), errEnd)
}

// fail answers the operation in hand by an error.
func (s *session) fail(why error) error {
	m := nixwire.Message{Kind: nixwire.Failure, Text: why.Error()}
	var failed *nixconn.FailureError
	if errors.As(why, &failed) {
		m = failed.Message
	}
	if s.v.Minor() < 26 {
		s.client.W.Uint64(nixwire.Failure)
		s.client.W.String(m.Text)
		s.client.W.Uint64(1)
	} else {
		m.Write(s.client.W)
	}
	return s.client.W.Flush()
}

// explain tells the client why the connection ends, where it can still be told.
func (s *session) explain(err error) error {
	if errors.Is(err, errEnd) {
		return err
	}
	why := fmt.Errorf("The connection to the Nix daemon was lost (%w). The daemon may have been restarted: try again", err) //nolint:staticcheck // for people
	var bad *nixwire.MalformedError
	var away *nixconn.AwayError
	var hidden *view.Error
	switch {
	case errors.As(err, &hidden):
		why = hidden
	case errors.As(err, &away):
		why = away
	case errors.As(err, &bad):
		why = fmt.Errorf("Skerry's Nix gateway ends this connection: %w", err) //nolint:staticcheck // for people
	}
	_ = s.client.SetDeadline(time.Now().Add(linger)) // of an open connection
	failed := s.fail(why)
	if failed == nil && bad != nil {
		s.linger()
	}
	return errors.Join(failed, err)
}

// linger lets a client go on that was told of the end of its connection: it may be writing, and then it reads what it is told
// only if that does not fail.
func (s *session) linger() {
	_ = s.client.SetDeadline(time.Now().Add(linger)) // of an open connection
	_, _ = io.Copy(io.Discard, s.client)
}

// linger is how long a client may go on that was told of the end of its connection.
const linger = 500 * time.Millisecond

// relay passes a message of the daemon on.
func (s *session) relay(m *nixwire.Message) error {
	s.made.note(m)
	m.Write(s.client.W)
	return s.client.W.Err()
}

// limit bounds what a request takes in memory. Few may be large at once.
func (s *session) limit(ctx context.Context) (l *nixwire.Limit, release func()) {
	taken := false
	l = &nixwire.Limit{Left: maxRequest, Large: maxRequest - largeSize, Grown: func() error {
		select {
		case s.g.large <- struct{}{}:
			taken = true
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}}
	return l, func() {
		if taken {
			<-s.g.large
		}
	}
}

// maxRequest bounds what a request takes in memory: enough for 300,000 paths.
const maxRequest = 64 << 20
