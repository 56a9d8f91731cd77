package session

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/coder/websocket"

	"gitlab.com/skerry/skerry/internal/terminal"
)

// The protocols of GitLab's Workhorse: a message is what is typed or shown, as it is (binary) or in base64 (text). There is
// none for the window's size.
const (
	plainProtocol  = "terminal.gitlab.com"
	base64Protocol = "base64.terminal.gitlab.com"
)

const (
	openWithin = time.Minute // how long a job that is not ready yet is waited for, as GitLab Runner does
	maxMessage = 1 << 20     // of what is typed (pasted), bytes; never in memory at once
	pingEvery  = 30 * time.Second
)

// serve connects one WebSocket with one terminal.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, path string) {
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	stop := context.AfterFunc(r.Context(), cancel) // until it is a WebSocket
	late := time.AfterFunc(openWithin, cancel)
	t, err := s.o.Open(ctx, path)
	stop()
	if err != nil || !late.Stop() {
		s.o.Log.Warn("A web terminal could not be opened", "error", err)
		code := http.StatusServiceUnavailable
		if errors.Is(err, ErrNoJob) {
			code = http.StatusNotFound
		}
		refuse(w, code)
		if t != nil {
			t.Close()
		}
		return
	}
	defer t.Close()
	c, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{plainProtocol, base64Protocol}})
	if err != nil {
		s.o.Log.Warn("A web terminal could not be opened", "error", err)
		return
	}
	defer func() { _ = c.CloseNow() }() // who has closed it properly does not hear this
	c.SetReadLimit(maxMessage)
	k := &socket{c: c, t: t, base64: c.Subprotocol() == base64Protocol}
	typed := make(chan struct{})
	go func() {
		defer close(typed)
		defer t.Close()
		_ = k.typing(ctx) // the user is gone
	}()
	go k.ping(ctx, cancel)
	code, reason := k.show(ctx)
	_ = c.Close(code, reason) // the user is gone, perhaps
	cancel()
	<-typed
}

// socket is one WebSocket with its terminal.
type socket struct {
	c      *websocket.Conn
	t      Terminal
	base64 bool
}

// typing hands on what the user types until he is gone.
func (k *socket) typing(ctx context.Context) error {
	buf := make([]byte, terminal.MaxData)
	for {
		_, r, err := k.c.Reader(ctx)
		if err != nil {
			return err
		}
		if k.base64 {
			r = base64.NewDecoder(base64.StdEncoding, r)
		}
		for {
			n, err := r.Read(buf)
			if n > 0 {
				_ = k.t.Send(terminal.Input, buf[:n]) // a program that takes no more has ended, and its last words are on their way
			}
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				_ = k.c.Close(websocket.StatusInvalidFramePayloadData, "")
				return err
			}
		}
	}
}

// ping notices a user who is gone without a word.
func (k *socket) ping(ctx context.Context, gone func()) {
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		once, cancel := context.WithTimeout(ctx, pingEvery)
		err := k.c.Ping(once)
		cancel()
		if err != nil {
			gone()
			return
		}
	}
}

// show shows what the terminal shows until it ends, and says how to close the socket then.
func (k *socket) show(ctx context.Context) (websocket.StatusCode, string) {
	for {
		kind, data, err := k.t.Receive()
		if err != nil {
			return websocket.StatusGoingAway, "the job's environment has ended"
		}
		switch kind {
		case terminal.Output, terminal.ErrorOutput:
			if k.base64 {
				err = k.c.Write(ctx, websocket.MessageText, base64.StdEncoding.AppendEncode(nil, data))
			} else {
				err = k.c.Write(ctx, websocket.MessageBinary, data)
			}
		case terminal.Exit:
			return websocket.StatusNormalClosure, "the shell has ended"
		case terminal.Begin, terminal.Input, terminal.InputEnd, terminal.Resize:
			return websocket.StatusInternalError, "" // a lie of the job's
		default: // of a later version
		}
		if err != nil {
			return websocket.StatusGoingAway, ""
		}
	}
}
