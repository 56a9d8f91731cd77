package courier

import (
	"context"
	"errors"
	"fmt"
	"io"

	"gitlab.com/skerry/skerry/internal/nixstore/nixpush"
	"gitlab.com/skerry/skerry/internal/nixstore/nixwire"
)

// archives reads those of a store whose daemon runs, one after the other, by one command in its container.
type archives struct {
	store Store
	conn  io.ReadWriteCloser // nil: the command does not run
	in    *nixwire.Reader
}

const (
	archiveBuffer = 128 << 10
	maxWords      = 64 << 10 // of what went wrong
)

// Open implements nixpush.Source. One is read at a time.
func (a *archives) Open(ctx context.Context, p nixpush.Path) (io.ReadCloser, error) {
	if a.conn == nil {
		conn, err := a.store.Archives(ctx)
		if err != nil {
			return nil, err
		}
		a.conn, a.in = conn, nixwire.NewReader(conn, archiveBuffer)
	}
	conn := a.conn // Close forgets it
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	if _, err := io.WriteString(conn, p.Path+"\n"); err != nil {
		stop()
		a.Close()
		return nil, fmt.Errorf("ask the Nix daemon's container for it: %w", err)
	}
	return &archive{a: a, path: p.Path, frames: nixwire.NewFrames(a.in), stop: stop}, nil
}

// Close ends the command.
func (a *archives) Close() {
	if a.conn != nil {
		_ = a.conn.Close() // it was read from
		a.conn = nil
	}
}

// archive is one that is being read.
type archive struct {
	a      *archives
	frames *nixwire.Frames
	path   string
	stop   func() bool
	ended  bool
}

// Read implements io.Reader.
func (r *archive) Read(b []byte) (int, error) {
	n, err := r.frames.Read(b)
	if !errors.Is(err, io.EOF) || r.ended {
		return n, err
	}
	r.ended = true
	said, err := r.a.in.String(maxWords)
	switch {
	case err != nil:
		r.ended = false
		return n, fmt.Errorf("the Nix daemon's container: %w", err)
	case said != "":
		return n, &nixpush.PathError{Path: r.path, Err: errors.New(said)}
	}
	return n, io.EOF
}

// Close implements io.Closer. What was not read to its end takes the command with it.
func (r *archive) Close() error {
	if !r.stop() || !r.ended {
		r.a.Close()
	}
	return nil
}
