package engineapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/client"
)

// maxOutput bounds what Exec reads.
const maxOutput = 1 << 20

// ExitError is a command that has failed.
type ExitError struct {
	Command   string
	Container string
	Code      int
	Words     string // what it wrote to its standard error
}

func (e *ExitError) Error() string {
	return fmt.Sprintf("%s in container %s ended with exit code %d: %s", e.Command, e.Container, e.Code, e.Words)
}

// Exec runs a command in a container that runs and returns its standard output. A command that fails is an *ExitError.
func (e *Engine) Exec(ctx context.Context, container, user string, command ...string) ([]byte, error) {
	return e.ExecUpTo(ctx, maxOutput, container, user, command...)
}

// ExecUpTo is Exec for a command that writes at most limit bytes.
func (e *Engine) ExecUpTo(ctx context.Context, limit int64, container, user string, command ...string) ([]byte, error) {
	var made client.ExecCreateResult
	err := e.again(ctx, func(ctx context.Context) (err error) {
		made, err = e.c.ExecCreate(ctx, container, client.ExecCreateOptions{User: user, Cmd: command, AttachStdout: true, AttachStderr: true})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("run %s in container %s: %w", command[0], container, err)
	}
	e.calls.Add(2)
	r, err := e.c.ExecAttach(ctx, made.ID, client.ExecAttachOptions{})
	if err != nil {
		return nil, fmt.Errorf("run %s in container %s: %w", command[0], container, err)
	}
	defer r.Close()
	defer context.AfterFunc(ctx, r.Close)()
	var out, words bytes.Buffer
	if _, err := stdcopy.StdCopy(&out, &words, io.LimitReader(r.Reader, limit)); err != nil {
		return nil, fmt.Errorf("run %s in container %s: %w", command[0], container, err)
	}
	code, err := e.execCode(ctx, container, made.ID)
	if err != nil {
		return nil, fmt.Errorf("run %s in container %s: %w", command[0], container, err)
	}
	if code != 0 {
		return nil, &ExitError{Command: command[0], Container: container, Code: code, Words: string(bytes.TrimSpace(words.Bytes()))}
	}
	return out.Bytes(), nil
}

// execTime is how long a command may run on that has closed its output.
const execTime = time.Minute

// execCode is how a command ended whose output has. Podman knows that some time later, and says until then that it runs, and 0.
// Of one whose container has ended meanwhile it may say so for ever.
func (e *Engine) execCode(ctx context.Context, container, id string) (int, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, execTime, errors.New("it has closed its output, and does not end"))
	defer cancel()
	const longest = 200 * time.Millisecond
	for wait := 2 * time.Millisecond; ; wait = min(2*wait, longest) {
		var s client.ExecInspectResult
		err := e.again(ctx, func(ctx context.Context) (err error) {
			s, err = e.c.ExecInspect(ctx, id, client.ExecInspectOptions{})
			return err
		})
		if err != nil || !s.Running {
			return s.ExitCode, err
		}
		if wait == longest {
			if c, err := e.State(ctx, container); err != nil || !c.Running {
				return 0, errors.Join(errContainerEnded, err)
			}
		}
		if !pause(ctx, wait) {
			return 0, context.Cause(ctx)
		}
	}
}

var errContainerEnded = errors.New("the container has ended meanwhile")
