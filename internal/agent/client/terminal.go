package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"gitlab.com/skerry/skerry/internal/agent/wire"
	"gitlab.com/skerry/skerry/internal/stage"
	"gitlab.com/skerry/skerry/internal/terminal"
)

// ErrNoTerminals says that the agent is of a version that has none.
var ErrNoTerminals = errors.New("the job was started by a version of the runner whose jobs have no terminals; jobs that are started from now on do")

// Terminal is a program in the agent's place, see stage.Terminal. What it says is hostile; messages are
// bounded by the stream.
type Terminal struct {
	*terminal.Stream

	end func()
}

// Close ends the program. It may be called again, also while others send and receive.
func (t *Terminal) Close() { t.end() }

// requestBody is a body whose reader can be woken: the transport waits for it.
type requestBody struct {
	io.Reader
	io.Closer
}

// Terminal starts a program, which lives until it ends, ctx does, or Close. Its output takes of the
// connection's buffers when it is not read: use a Client of its own for it. A program that cannot be
// started is a *RefusedError.
func (c *Client) Terminal(ctx context.Context, spec stage.Terminal) (*Terminal, error) {
	hello, err := c.Hello(ctx)
	if err != nil {
		return nil, err
	}
	if hello.Protocol < wire.TerminalsSince {
		return nil, ErrNoTerminals
	}
	var begin bytes.Buffer
	if err := terminal.New(nil, &begin, nil).SendJSON(terminal.Begin, spec); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	typed, typing := io.Pipe()
	end := func() {
		cancel()
		_ = typing.CloseWithError(context.Canceled) // always nil
	}
	res, err := c.do(ctx, http.MethodPost, "/v1/terminals", requestBody{io.MultiReader(&begin, typed), typed}, nil)
	if err != nil {
		end()
		return nil, fmt.Errorf("open a terminal: %w", err)
	}
	context.AfterFunc(ctx, func() {
		_ = typing.CloseWithError(context.Cause(ctx)) // always nil
		_ = res.Body.Close()
	})
	return &Terminal{Stream: terminal.New(&body{ctx: ctx, ReadCloser: res.Body}, typing, nil), end: end}, nil
}
