package container_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"

	"gitlab.com/skerry/skerry/internal/agent/client"
	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/container"
	"gitlab.com/skerry/skerry/internal/executor/container/enginetest"
	"gitlab.com/skerry/skerry/internal/job"
	"gitlab.com/skerry/skerry/internal/stage"
	"gitlab.com/skerry/skerry/internal/terminal"
)

// TestTerminal opens a terminal in the container of a job's image, which ends with the environment.
func TestTerminal(t *testing.T) {
	t.Parallel()
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		host := &container.Host{}
		o := options(t, e)
		exec := container.New(o, host, slog.New(slog.NewTextHandler(t.Output(), nil)))
		t.Cleanup(func() {
			if err := host.Close(context.Background()); err != nil {
				t.Error(err)
			}
		})
		env, err := exec.Prepare(ctx, executor.NewRef("0123456789abcdef"), &job.Job{ID: 1}, t.Output())
		if err != nil {
			t.Fatal(err)
		}
		closed := false
		defer func() {
			if !closed {
				_ = env.Close(context.Background())
			}
		}()
		c := client.New(func(ctx context.Context) (net.Conn, error) { return env.Dial(ctx, executor.Build) }, 1)
		defer c.Close()
		term, err := c.Terminal(ctx, stage.Terminal{
			TTY: true, Rows: 20, Cols: 60, Shell: "sh", Base: o.BuildsDir, Env: []stage.Var{{Key: "PS1", Value: "ready> "}, {Key: "JOB", Value: "value"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer term.Close()
		shown := ""
		until := func(text string) {
			t.Helper()
			for !strings.Contains(shown, text) {
				kind, data, err := term.Receive()
				if err != nil || kind != terminal.Output {
					t.Fatalf("%q %v: %q does not come: %q", kind, err, text, shown)
				}
				shown += string(data)
			}
			_, shown, _ = strings.Cut(shown, text)
		}
		until("ready> ")
		if err := term.Send(terminal.Input, []byte("test -t 0 && echo $JOB in $PWD\n")); err != nil {
			t.Fatal(err)
		}
		until("value in " + o.BuildsDir + "\r\n")
		closed = true
		if err := env.Close(ctx); err != nil {
			t.Fatal(err)
		}
		for {
			if _, _, err := term.Receive(); err != nil {
				if errors.Is(err, context.DeadlineExceeded) {
					t.Error("the terminal outlives the environment")
				}
				return
			}
		}
	})
}
