package engineapi

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/client"
)

// Outcome is how a container ended that was to do one thing.
type Outcome struct {
	ExitCode int
	Out, Err []byte // what it wrote
}

// Finish waits until a container that was started ends, and reads what it wrote, at most limit bytes. It looks again
// and again instead of waiting in the engine: a wait for a container that ends at once never returns from some.
func (e *Engine) Finish(ctx context.Context, name string, limit int64) (Outcome, error) {
	for wait := 10 * time.Millisecond; ; wait = min(2*wait, 200*time.Millisecond) {
		s, err := e.State(ctx, name)
		if err != nil {
			return Outcome{}, err
		}
		if !s.Running && !s.Created {
			return e.outcome(ctx, name, s, limit)
		}
		if !pause(ctx, wait) {
			return Outcome{}, fmt.Errorf("wait for container %s: %w", name, context.Cause(ctx))
		}
	}
}

func (e *Engine) outcome(ctx context.Context, name string, s State, limit int64) (Outcome, error) {
	var out, words bytes.Buffer
	err := e.again(ctx, func(ctx context.Context) error {
		out.Reset()
		words.Reset()
		r, err := e.c.ContainerLogs(ctx, name, client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true})
		if err != nil {
			return err
		}
		defer r.Close()
		_, err = stdcopy.StdCopy(&out, &words, io.LimitReader(r, limit))
		return err
	})
	if err != nil {
		return Outcome{}, fmt.Errorf("logs of container %s: %w", name, err)
	}
	return Outcome{ExitCode: s.ExitCode, Out: out.Bytes(), Err: bytes.TrimSpace(words.Bytes())}, nil
}

// Stop ends a container: by its stop signal, and after grace by KILL. One that does not run, or is not there, is no
// error.
func (e *Engine) Stop(ctx context.Context, name string, grace time.Duration) error {
	seconds := int(grace / time.Second)
	err := e.again(ctx, func(ctx context.Context) error {
		_, err := e.c.ContainerStop(ctx, name, client.ContainerStopOptions{Timeout: &seconds})
		return err
	})
	if err != nil && !absent(err) {
		return fmt.Errorf("stop container %s: %w", name, err)
	}
	return nil
}
