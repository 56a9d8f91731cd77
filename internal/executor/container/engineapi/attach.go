package engineapi

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/client"
)

// Attach runs a command in a container and returns a connection to its standard input and output. It
// returns when the command has written the line ready to its standard error; what else it writes there is part
// of the error when it ends. Closing the connection ends the command's input.
func (e *Engine) Attach(ctx context.Context, container, user, ready string, command ...string) (net.Conn, error) {
	fail := func(err error) (net.Conn, error) {
		return nil, fmt.Errorf("connect to %s in container %s: %w", command[0], container, err)
	}
	var made client.ExecCreateResult
	err := e.again(ctx, func(ctx context.Context) (err error) {
		made, err = e.c.ExecCreate(ctx, container, client.ExecCreateOptions{
			User: user, Cmd: command, WorkingDir: "/", AttachStdin: true, AttachStdout: true, AttachStderr: true,
		})
		return err
	})
	if err != nil {
		return fail(err)
	}
	e.calls.Add(1)
	r, err := e.c.ExecAttach(ctx, made.ID, client.ExecAttachOptions{})
	if err != nil {
		return fail(err)
	}
	c := &execConn{Conn: r.Conn, in: r.Reader, ready: ready}
	stop := context.AfterFunc(ctx, func() { _ = r.Conn.Close() })
	err = c.await()
	if !stop() {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		_ = r.Conn.Close()
		return fail(err)
	}
	return c, nil
}

// maxWords bounds what is kept of a command's standard error.
const maxWords = 4 << 10

// execConn is the connection of an exec: writes are its standard input, reads its standard output, which
// comes in frames of at most 4 GiB between those of its standard error.
type execConn struct {
	net.Conn

	mu    sync.Mutex // one reader
	in    *bufio.Reader
	left  uint32 // of the present frame
	words strings.Builder
	ready string
}

// await reads until the command is ready.
func (c *execConn) await() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		kind, err := c.frame()
		if err != nil {
			return c.ended(err)
		}
		if kind != stdcopy.Stderr {
			return errors.New("the command wrote to its output before it was ready")
		}
		for line := range strings.Lines(c.words.String()) {
			if strings.TrimSpace(line) == c.ready {
				c.words.Reset()
				return nil
			}
		}
	}
}

// Read implements net.Conn.
func (c *execConn) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.left == 0 {
		if _, err := c.frame(); err != nil {
			return 0, c.ended(err)
		}
	}
	if uint64(len(p)) > uint64(c.left) {
		p = p[:c.left]
	}
	n, err := c.in.Read(p)
	c.left -= uint32(n) //nolint:gosec // at most left
	if err != nil && n == 0 {
		err = c.ended(err)
	}
	return n, err
}

// frame reads the beginning of a frame; one of standard error it reads as a whole.
func (c *execConn) frame() (stdcopy.StdType, error) {
	var head [8]byte
	if _, err := io.ReadFull(c.in, head[:]); err != nil {
		return 0, err
	}
	kind, size := stdcopy.StdType(head[0]), binary.BigEndian.Uint32(head[4:])
	switch kind {
	case stdcopy.Stdout:
		c.left = size
		return kind, nil
	case stdcopy.Stderr, stdcopy.Systemerr:
		room := max(0, int64(maxWords-c.words.Len()))
		if _, err := io.CopyN(&c.words, c.in, min(room, int64(size))); err != nil {
			return kind, err
		}
		if _, err := io.CopyN(io.Discard, c.in, max(0, int64(size)-room)); err != nil {
			return kind, err
		}
		return kind, nil
	default:
		return kind, fmt.Errorf("the engine sent a frame of unknown kind %d", kind)
	}
}

// ended is the error of a stream that is over, with the command's last words.
func (c *execConn) ended(err error) error {
	if words := strings.TrimSpace(c.words.String()); words != "" {
		return fmt.Errorf("%w: %s", io.ErrUnexpectedEOF, words)
	}
	return err
}
