package hold

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"gitlab.com/skerry/skerry/internal/nixstore/nixwire"
)

// What a Remote says to a Server: a job's name, and then requests, of one of these numbers, how many paths, and their last
// parts. The answer to each request is what went wrong, "" for nothing.
const (
	askHold    = 1
	askRelease = 2
	maxJobName = 128
	maxAnswer  = 4 << 10
	wireBuffer = 16 << 10
)

// Server makes the roots of jobs for their gateways, which can read the directory of roots but not write to it: in a
// gateway's container the job has commands run, too, which could remove the roots of others. It does only what harms nobody:
// anybody may hold a path for any job, and a root is released only by the connection that has had it made, as long as no other
// has asked for it and the path is not in the store.
type Server struct {
	Roots string // has jobs/JOB
	Store string // the directory of the store

	mu    sync.Mutex
	ended bool
	conns map[net.Conn]bool

	roots sync.Mutex       // of making and releasing one
	fresh map[root]*client // the roots that may be released, and by whom
}

// client is the gateway at the other end of one connection.
type client struct {
	job   string
	links *Links
}

// root is that of a path for a job.
type root struct {
	job  string
	path nixwire.StorePath
}

// Serve serves until the listener is closed, and then closes all connections. It is called once.
func (s *Server) Serve(l net.Listener) {
	var all sync.WaitGroup
	defer all.Wait()
	defer s.end()
	for {
		c, err := l.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // out of descriptors: others give theirs back
			time.Sleep(100 * time.Millisecond)
			continue
		case !s.add(c):
			_ = c.Close() // nothing to lose
			return
		}
		all.Go(func() {
			_ = s.serve(c) // the other side has gone, or been told
			s.mu.Lock()
			defer s.mu.Unlock()
			delete(s.conns, c)
			_ = c.Close() // nothing to lose
		})
	}
}

func (s *Server) add(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns == nil {
		s.conns = map[net.Conn]bool{}
	}
	s.conns[c] = true
	return !s.ended
}

func (s *Server) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	for c := range s.conns {
		_ = c.Close() // its goroutine comes back
	}
}

// serve serves one job's gateway.
func (s *Server) serve(c net.Conn) error {
	r, w := nixwire.NewReader(c, wireBuffer), nixwire.NewWriter(c, wireBuffer)
	job, err := r.String(maxJobName)
	if err == nil {
		err = checkJob(job)
	}
	if err != nil {
		return err
	}
	links, err := NewLinks(s.Roots, job)
	if err != nil {
		return errors.Join(err, say(w, err))
	}
	defer links.Close() //nolint:errcheck // nothing was written
	of := &client{job: job, links: links}
	defer s.forget(of)
	for {
		ask, err := r.Uint64()
		if err != nil {
			return err
		}
		if err = s.do(of, ask, r); errors.Is(err, errBroken) {
			return err
		}
		if err := say(w, err); err != nil {
			return err
		}
	}
}

// say answers a request.
func say(w *nixwire.Writer, failed error) error {
	text := ""
	if failed != nil {
		text = failed.Error()
	}
	w.String(text[:min(len(text), maxAnswer)])
	return w.Flush()
}

// errBroken is that nothing more can be understood.
var errBroken = errors.New("the connection is broken")

// do does one request, to the end of its paths.
func (s *Server) do(of *client, ask uint64, r *nixwire.Reader) (failed error) {
	n, err := r.Uint64()
	if err != nil || ask != askHold && ask != askRelease {
		return errors.Join(errBroken, err)
	}
	for range n {
		base, err := r.String(nixwire.MaxPathLen)
		if err != nil {
			return errors.Join(errBroken, err)
		}
		p, err := nixwire.FromBase(base)
		switch {
		case err != nil:
			return errors.Join(errBroken, err)
		case failed != nil: // the others are read all the same
		case ask == askHold:
			if err := s.hold(of, p); err != nil {
				failed = fmt.Errorf("make a root of %s: %w", p, err)
			}
		default:
			s.release(of, p)
		}
	}
	return failed
}

// hold makes a root, of which a client may think better as long as nobody else wants it.
func (s *Server) hold(of *client, p nixwire.StorePath) error {
	s.roots.Lock()
	defer s.roots.Unlock()
	made, err := of.links.hold(p)
	if err != nil {
		return err
	}
	switch r := (root{of.job, p}); {
	case made && s.lacks(p):
		if s.fresh == nil {
			s.fresh = map[root]*client{}
		}
		s.fresh[r] = of
	case s.fresh[r] != of:
		delete(s.fresh, r)
	}
	return nil
}

// release removes a root that the client has had made of a path that has not come to the store.
func (s *Server) release(of *client, p nixwire.StorePath) {
	s.roots.Lock()
	defer s.roots.Unlock()
	if r := (root{of.job, p}); s.fresh[r] == of && s.lacks(p) {
		delete(s.fresh, r)
		of.links.Release([]nixwire.StorePath{p})
	}
}

// forget has the roots stay that a client has had made which is gone.
func (s *Server) forget(of *client) {
	s.roots.Lock()
	defer s.roots.Unlock()
	maps.DeleteFunc(s.fresh, func(_ root, by *client) bool { return by == of })
}

func (s *Server) lacks(p nixwire.StorePath) bool {
	_, err := os.Lstat(filepath.Join(s.Store, p.Base()))
	return errors.Is(err, fs.ErrNotExist)
}

// checkJob reports a name that is no job's: whoever looks through the roots stops at a directory of such a name.
func checkJob(job string) error {
	isOther := func(c rune) bool {
		return (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && c != '.' && c != '-' && c != '_'
	}
	if job == "" || strings.ContainsRune(".-_", rune(job[0])) || strings.ContainsFunc(job, isOther) {
		return fmt.Errorf("%q is no job's name", job)
	}
	return nil
}
