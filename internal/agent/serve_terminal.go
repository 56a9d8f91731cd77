package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"gitlab.com/skerry/skerry/internal/agent/proc"
	"gitlab.com/skerry/skerry/internal/pty"
	"gitlab.com/skerry/skerry/internal/stage"
	"gitlab.com/skerry/skerry/internal/terminal"
)

const (
	terminals    = "~terminal" // begins the marks of their processes; no stage can be called so
	maxTerminals = 16          // at once
	hangUpGrace  = 2 * time.Second
	lastWords    = time.Second // how long others that hold a terminal are listened to when its shell has ended
)

// errBusy answers who wants one terminal too many.
var errBusy = fmt.Errorf("%d terminals are open in this place already", maxTerminals)

// guest is one terminal, or one program that is run like one.
type guest struct {
	group   *proc.Group
	process *proc.Process
	stream  *terminal.Stream
	open    chan struct{} // closed when the answer's header has been sent, or will not be

	tty   *os.File // our end of the terminal; nil without one
	input *os.File // the program's standard input without one
}

// serveTerminal runs one program for as long as it lives and the peer is there. When the peer goes, or a newer
// runner comes, what was started in it is ended.
func (a *Agent) serveTerminal(w http.ResponseWriter, r *http.Request) {
	flusher := http.NewResponseController(w)
	g := &guest{stream: terminal.New(r.Body, w, flusher.Flush), open: make(chan struct{})}
	opened := sync.OnceFunc(func() { close(g.open) })
	defer opened()
	var t stage.Terminal
	if err := g.stream.ReceiveJSON(terminal.Begin, &t, maxBody); err != nil {
		refuse(w, http.StatusBadRequest, err)
		return
	}
	number, err := a.admit()
	if err != nil {
		refuse(w, http.StatusServiceUnavailable, err)
		return
	}
	defer a.dismiss()
	g.group = a.reaper.NewGuest(a.mark(fmt.Sprint(terminals, ".", number)))
	defer g.group.Release(false)
	if err := g.start(a, &t); err != nil {
		refuse(w, http.StatusUnprocessableEntity, err)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.WriteHeader(http.StatusOK)
	err = flusher.Flush()
	opened()
	if err == nil {
		err = g.serve(r.Context(), flusher)
	}
	if err != nil {
		a.o.Log.Debug("a terminal ended", "cause", err)
		panic(http.ErrAbortHandler) //nolint:forbidigo // net/http's way to reset a stream
	}
}

// admit counts a terminal, whose number it returns.
func (a *Agent) admit() (int64, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.o.Terminal == nil:
		return 0, errors.New("this agent has no terminals")
	case a.ending:
		return 0, errEnding
	case a.guests >= maxTerminals:
		return 0, errBusy
	}
	a.guests++
	return time.Now().UnixNano(), nil
}

func (a *Agent) dismiss() {
	a.mu.Lock()
	a.guests--
	a.mu.Unlock()
}

// start starts the program.
func (g *guest) start(a *Agent, t *stage.Terminal) error {
	c, err := a.o.Terminal(stage.Place{Shells: a.tools.shells, Git: a.tools.git}, t)
	if err != nil {
		return err
	}
	if t.TTY {
		return g.startTTY(c, t)
	}
	in, out, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make a pipe for a program's input: %w", err)
	}
	defer in.Close()
	c.Stdin, c.Stdout, c.Stderr = in, answered{g.open, g.stream.Writer(terminal.Output)}, answered{g.open, g.stream.Writer(terminal.ErrorOutput)}
	if g.process, err = g.group.Start(c); err != nil {
		return errors.Join(err, out.Close())
	}
	g.input = out
	return nil
}

// answered is a writer that waits: a program writes as soon as it is started, and the answer's header, which says that
// it has been, must be sent before what it writes and not at the same time.
type answered struct {
	open <-chan struct{}
	io.Writer
}

// Write implements io.Writer.
func (l answered) Write(p []byte) (int, error) {
	<-l.open
	return l.Writer.Write(p)
}

func (g *guest) startTTY(c stage.Command, t *stage.Terminal) error {
	tty, theirs, err := pty.Open()
	if err != nil {
		return err
	}
	defer theirs.Close()
	if t.Rows > 0 && t.Cols > 0 {
		err = pty.SetSize(tty, t.Rows, t.Cols)
	}
	if err == nil {
		g.process, err = g.group.StartOn(theirs, c)
	}
	if err != nil {
		return errors.Join(err, tty.Close())
	}
	g.tty = tty
	return nil
}

// serve carries messages until the program has ended or the peer is gone. Nothing of the program is left then.
func (g *guest) serve(ctx context.Context, c *http.ResponseController) error {
	gone, typed := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(typed)
		gone <- g.typing()
	}()
	shown := make(chan struct{})
	go func() {
		defer close(shown)
		if g.tty != nil {
			_, _ = io.CopyBuffer(struct{ io.Writer }{g.stream.Writer(terminal.Output)}, struct{ io.Reader }{g.tty}, make([]byte, terminal.MaxData))
		}
	}()
	ended := make(chan stage.Exit, 1)
	go func() {
		e, _ := g.process.Wait() // what a writer says, the peer's going says, too
		ended <- e
	}()
	var exit stage.Exit
	var why error
	select {
	case exit = <-ended:
		if g.tty != nil {
			_ = g.tty.SetReadDeadline(time.Now().Add(lastWords))
			select {
			case <-shown:
			case why = <-gone:
			case <-ctx.Done():
				why = context.Cause(ctx)
			}
		}
	case why = <-gone:
	case <-ctx.Done():
		why = context.Cause(ctx)
	}
	if why != nil {
		_ = c.SetWriteDeadline(time.Now()) // who waits for the peer to read waits no longer
	}
	g.hangUp()
	<-shown
	if why == nil {
		why = g.stream.SendJSON(terminal.Exit, terminal.Ended{Code: exit.Code})
	} else {
		<-ended
	}
	_ = c.SetReadDeadline(time.Now())
	<-typed
	return why
}

// hangUp ends what is left of the program: a terminal that goes away is a SIGHUP to a shell, which does not
// listen to TERM.
func (g *guest) hangUp() {
	for _, f := range []*os.File{g.tty, g.input} {
		if f != nil {
			_ = f.Close()
		}
	}
	_ = g.group.End(hangUpGrace) // survivors: the environment's end says so
}

// typing hands what the peer sends to the program, until the peer is gone, and says why it is.
func (g *guest) typing() error {
	for {
		kind, data, err := g.stream.Receive()
		if err != nil {
			return fmt.Errorf("the terminal's user is gone: %w", err)
		}
		switch kind {
		case terminal.Input:
			g.write(data)
		case terminal.InputEnd:
			if g.input != nil {
				_ = g.input.Close()
			}
		case terminal.Resize:
			size, err := terminal.ParseSize(data)
			if err != nil {
				return err
			}
			if g.tty != nil {
				_ = pty.SetSize(g.tty, size.Rows, size.Cols) // the program has ended
			}
		case terminal.Begin, terminal.Output, terminal.ErrorOutput, terminal.Exit:
			return fmt.Errorf("a terminal's user sent a message %q", kind)
		default: // of a later version
		}
	}
}

// write gives the program its input. One that does not take any more has ended, or will say so.
func (g *guest) write(data []byte) {
	f := g.tty
	if f == nil {
		f = g.input
	}
	_, _ = f.Write(data)
}
