package control_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/control"
	"gitlab.com/skerry/skerry/internal/terminal"
)

// runner has one job, 7, whose log is text and whose terminal shows what is typed.
type runner struct {
	text    string
	cut     error // how the log ends
	ended   chan struct{}
	hostile bool
	deaf    bool
}

func (r *runner) Jobs() []control.Job {
	return []control.Job{{ID: 7, Name: "seven", State: control.Running}}
}

func (r *runner) Log(_ context.Context, id string, from int64, tail int) (control.Log, int64, error) {
	if id != "7" {
		return nil, 0, control.ErrNotFound
	}
	if tail >= 0 {
		from = int64(len(r.text) - tail)
	}
	return &jobLog{Reader: strings.NewReader(r.text[from:]), cut: r.cut}, from, nil
}

type jobLog struct {
	io.Reader

	cut error
}

func (l *jobLog) Read(p []byte) (int, error) {
	n, err := l.Reader.Read(p)
	if errors.Is(err, io.EOF) && l.cut != nil {
		err = l.cut
	}
	return n, err
}
func (l *jobLog) Close() error { return nil }
func (l *jobLog) Result(context.Context) (control.Result, error) {
	return control.Result{State: "failed", ExitCode: 5}, nil
}

func (r *runner) Release(string) error { return errors.New("it is not kept") }

func (r *runner) Prune(_ context.Context, socket string) control.Pruned {
	return control.Pruned{Images: 2, Containers: 1, Bytes: 3, Problem: socket + " is away"}
}

func (r *runner) Terminal(ctx context.Context, _ string, t control.Terminal) (control.Session, error) {
	if len(t.Args) > 0 && t.Args[0] == "none" {
		return nil, errors.New("there is no such program")
	}
	if r.deaf {
		return &deaf{refused: make(chan struct{}, 2), echo: echo{ended: r.ended}}, nil
	}
	return &echo{ctx: ctx, typed: make(chan []byte), ended: r.ended, hostile: r.hostile}, nil
}

type echo struct {
	ctx     context.Context
	typed   chan []byte
	ended   chan struct{}
	hostile bool
}

func (e *echo) Send(k terminal.Kind, data []byte) error {
	if k == terminal.InputEnd {
		data = []byte("exit")
	}
	select {
	case e.typed <- append([]byte(nil), data...):
		return nil
	case <-e.ended:
		return io.ErrClosedPipe
	}
}

func (e *echo) Receive() (terminal.Kind, []byte, error) {
	if e.hostile {
		return terminal.Begin, nil, nil
	}
	select {
	case b := <-e.typed:
		if string(b) == "exit" {
			return terminal.Exit, []byte(`{"code":9}`), nil
		}
		return terminal.Output, b, nil
	case <-e.ctx.Done():
		return 0, nil, io.EOF
	case <-e.ended:
		return 0, nil, io.EOF
	}
}

func (e *echo) Close() {
	select {
	case <-e.ended:
	default:
		close(e.ended)
	}
}

// deaf is a program that has ended when somebody types; it is told of that late.
type deaf struct {
	echo

	refused chan struct{}
}

func (d *deaf) Send(terminal.Kind, []byte) error {
	d.refused <- struct{}{}
	return io.ErrClosedPipe
}

func (d *deaf) Receive() (terminal.Kind, []byte, error) {
	for range 2 {
		select {
		case <-d.refused:
		case <-d.ended:
			return 0, nil, io.EOF
		}
	}
	return terminal.Exit, []byte(`{"code":9}`), nil
}

func serve(t *testing.T, r *runner) (*control.Client, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 40)) // longer than a socket's path may be
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, control.SocketName), []byte("of an earlier process"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.ended = make(chan struct{})
	s, err := control.Listen(t.Context(), dir, r, &stores{}, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	c := control.NewClient(dir)
	t.Cleanup(c.Close)
	return c, dir
}

func TestJobsAndLog(t *testing.T) {
	t.Parallel()
	r := &runner{text: "the log\nof the job\n"}
	c, dir := serve(t, r)
	if info, err := os.Stat(filepath.Join(dir, control.SocketName)); err != nil || info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("the socket: %v %v", info, err)
	}
	jobs, err := c.Jobs(t.Context())
	if d := cmp.Diff(r.Jobs(), jobs); d != "" || err != nil {
		t.Error(d, err)
	}
	for _, part := range []struct {
		from int64
		tail int
	}{{0, -1}, {4, -1}, {0, 3}} {
		l, err := c.Log(t.Context(), "7", part.from, part.tail)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(l)
		res, failed := l.Result()
		if want := r.text[l.From:]; string(b) != want || err != nil || failed != nil || res.ExitCode != 5 {
			t.Errorf("%q, %v, %+v, %v", b, err, res, failed)
		}
	}
	var refusal *control.Refusal
	if _, err := c.Log(t.Context(), "8", 0, -1); !errors.As(err, &refusal) || refusal.Status != 404 {
		t.Errorf("another job: %v", err)
	}
	if err := c.Release(t.Context(), "7"); err == nil || err.Error() != "it is not kept" {
		t.Errorf("release: %v", err)
	}
	r.cut = errors.New("the runner stops")
	l, err := c.Log(t.Context(), "7", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.ReadAll(l)
	if _, failed := l.Result(); err == nil && failed == nil {
		t.Error("a log that was cut counts as whole")
	}
}

func TestPrune(t *testing.T) {
	t.Parallel()
	r := &runner{}
	c, _ := serve(t, r)
	p, err := c.Prune(t.Context(), "/run/an engine&.sock")
	if d := cmp.Diff(r.Prune(t.Context(), "/run/an engine&.sock"), p); d != "" || err != nil {
		t.Error(d, err)
	}
}

func TestTerminal(t *testing.T) {
	t.Parallel()
	c, _ := serve(t, &runner{})
	if _, err := c.Terminal(t.Context(), "7", control.Terminal{Args: []string{"none"}}); err == nil || err.Error() != "there is no such program" {
		t.Errorf("%v", err)
	}
	o, err := c.Terminal(t.Context(), "7", control.Terminal{TTY: true})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	if err := o.Send(terminal.Input, []byte("typed")); err != nil {
		t.Fatal(err)
	}
	if k, b, err := o.Receive(); k != terminal.Output || string(b) != "typed" || err != nil {
		t.Errorf("%q %q %v", k, b, err)
	}
	if err := o.Send(terminal.InputEnd, nil); err != nil {
		t.Fatal(err)
	}
	if k, b, err := o.Receive(); k != terminal.Exit || string(b) != `{"code":9}` || err != nil {
		t.Errorf("%q %q %v", k, b, err)
	}
}

// A program that ends while somebody types is not cut off: how it ended comes yet.
func TestTerminalOfProgramThatEnds(t *testing.T) {
	t.Parallel()
	c, _ := serve(t, &runner{deaf: true})
	o, err := c.Terminal(t.Context(), "7", control.Terminal{})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	for range 2 {
		if err := o.Send(terminal.Input, []byte("typed")); err != nil {
			t.Fatal(err)
		}
	}
	if k, b, err := o.Receive(); k != terminal.Exit || string(b) != `{"code":9}` || err != nil {
		t.Errorf("%q %q %v", k, b, err)
	}
}

func TestTerminalEndsWithItsUser(t *testing.T) {
	t.Parallel()
	r := &runner{}
	c, _ := serve(t, r)
	o, err := c.Terminal(t.Context(), "7", control.Terminal{TTY: true})
	if err != nil {
		t.Fatal(err)
	}
	o.Close()
	select {
	case <-r.ended:
	case <-time.After(30 * time.Second):
		t.Error("it is left open")
	}
	hostile := &runner{hostile: true}
	c, _ = serve(t, hostile)
	if o, err = c.Terminal(t.Context(), "7", control.Terminal{TTY: true}); err == nil {
		_, _, err = o.Receive()
	}
	if err == nil {
		t.Error("what no program may say came through")
	}
}

func TestNobodyThere(t *testing.T) {
	t.Parallel()
	for name, dir := range map[string]string{"no directory": "/no/such/directory", "no socket": t.TempDir()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := control.NewClient(dir).Jobs(t.Context())
			var none *control.NotRunningError
			if !errors.As(err, &none) || !strings.Contains(err.Error(), "--state-dir") {
				t.Errorf("%v", err)
			}
		})
	}
}
