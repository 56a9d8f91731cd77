package engineapi

import (
	"bytes"
	"context"
	"fmt"
	"io"

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
	s, err := e.c.ExecInspect(ctx, made.ID, client.ExecInspectOptions{})
	if err != nil {
		return nil, fmt.Errorf("run %s in container %s: %w", command[0], container, err)
	}
	if s.ExitCode != 0 {
		return nil, &ExitError{Command: command[0], Container: container, Code: s.ExitCode, Words: string(bytes.TrimSpace(words.Bytes()))}
	}
	return out.Bytes(), nil
}
