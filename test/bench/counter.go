package main

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
)

// counter passes connections on to an engine's socket and counts the requests that go through.
type counter struct {
	path     string
	listener net.Listener
	requests atomic.Int64
	all      sync.WaitGroup
}

// newCounter listens on a socket of its own that the engine's user may connect to. The caller closes it.
func newCounter(dir string, e containerEngine) (*counter, error) {
	home, err := os.MkdirTemp(dir, "engine")
	if err != nil {
		return nil, err
	}
	c := &counter{path: filepath.Join(home, "engine.sock")}
	if c.listener, err = net.Listen("unix", c.path); err != nil { //nolint:noctx // until it is closed
		return nil, err
	}
	if e.as != nil {
		uid, _ := strconv.Atoi(e.as.Uid) // the system's own
		err = errors.Join(os.Chmod(dir, 0o711), os.Chown(home, uid, -1), os.Chown(c.path, uid, -1))
	}
	c.all.Go(func() {
		for {
			from, err := c.listener.Accept()
			if err != nil {
				return
			}
			c.all.Go(func() { c.pass(from, e.socket) })
		}
	})
	return c, err
}

func (c *counter) pass(from net.Conn, socket string) {
	defer from.Close()
	to, err := net.Dial("unix", socket) //nolint:noctx // as long as the other one
	if err != nil {
		return
	}
	defer to.Close()
	done := make(chan struct{})
	go func() {
		_, _ = io.Copy(from, to)
		_ = from.Close()
		close(done)
	}()
	_, _ = io.Copy(to, io.TeeReader(from, c))
	if half, ok := to.(*net.UnixConn); ok {
		_ = half.CloseWrite()
	}
	<-done
}

// Write sees what clients send: a request begins at the beginning of a piece.
func (c *counter) Write(p []byte) (int, error) {
	for _, method := range []string{"GET /", "POST /", "DELETE /", "HEAD /", "PUT /"} {
		if bytes.HasPrefix(p, []byte(method)) {
			c.requests.Add(1)
		}
	}
	return len(p), nil
}

func (c *counter) count() int { return int(c.requests.Load()) }

func (c *counter) close() {
	_ = c.listener.Close()
	c.all.Wait()
}
