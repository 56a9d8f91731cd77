package hold_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/nixstore/hold"
	"gitlab.com/skerry/skerry/internal/nixstore/nixconn"
	"gitlab.com/skerry/skerry/internal/nixstore/nixwire"
)

// server is a hold.Server with its directories.
type server struct {
	roots, store, socket string

	l      net.Listener
	served sync.WaitGroup
}

func newServer(t *testing.T) *server {
	t.Helper()
	dir, err := os.MkdirTemp("", "hold") // short: a socket's path has at most 108 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s := &server{roots: filepath.Join(dir, "roots"), store: filepath.Join(dir, "store"), socket: filepath.Join(dir, "holder")}
	if err := errors.Join(os.Mkdir(s.roots, 0o755), os.Mkdir(s.store, 0o755)); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *server) start(t *testing.T) {
	t.Helper()
	_ = os.Remove(s.socket)
	l, err := net.Listen("unix", s.socket)
	if err != nil {
		t.Fatal(err)
	}
	s.l = l
	s.served.Go(func() { (&hold.Server{Roots: s.roots, Store: s.store}).Serve(l) })
	t.Cleanup(func() { _ = l.Close() })
}

func (s *server) stop() {
	_ = s.l.Close()
	s.served.Wait()
}

// TestRemote holds paths for a job, also after its server was restarted, and releases only what is not in the store.
func TestRemote(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	r := hold.NewRemote(s.socket, "j", time.Minute)
	defer r.Close()
	there, gone := path(t, "there"), path(t, "gone")
	if err := os.WriteFile(filepath.Join(s.store, there.Base()), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var first sync.WaitGroup
	first.Go(func() { // before there is a server
		if err := r.Hold(t.Context(), []nixwire.StorePath{there, gone}); err != nil {
			t.Error(err)
		}
	})
	s.start(t)
	first.Wait()
	if got := names(t, s.roots); len(got) != 2 {
		t.Errorf("held: %q", got)
	}
	r.Release([]nixwire.StorePath{there, gone})
	if got := names(t, s.roots); len(got) != 1 || got[0] != there.Base() {
		t.Errorf("after the release: %q", got)
	}
	s.stop()
	s.start(t)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if err := r.Hold(t.Context(), []nixwire.StorePath{gone}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if got := names(t, s.roots); len(got) != 2 {
		t.Errorf("after a restart: %q", got)
	}
	s.stop()
}

// TestReleasesNothingOfOthers has somebody take back what another connection holds: a path that is still being built is not in
// the store, and its root must last.
func TestReleasesNothingOfOthers(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.start(t)
	defer s.stop()
	remote := func() *hold.Remote {
		r := hold.NewRemote(s.socket, "j", time.Minute)
		t.Cleanup(func() { _ = r.Close() })
		return r
	}
	must := func(r *hold.Remote, p nixwire.StorePath) {
		t.Helper()
		if err := r.Hold(t.Context(), []nixwire.StorePath{p}); err != nil {
			t.Fatal(err)
		}
	}
	owner, other := remote(), remote()
	building, both := path(t, "building"), path(t, "both")
	must(owner, building)
	must(owner, both)
	must(other, path(t, "something")) // it has a connection
	other.Release([]nixwire.StorePath{building})
	must(other, both)
	other.Release([]nixwire.StorePath{both})
	owner.Release([]nixwire.StorePath{both}) // as a request that was given up may be late
	if got, want := names(t, s.roots), []string{both.Base(), building.Base(), path(t, "something").Base()}; !slices.Equal(got, want) {
		t.Errorf("held: %q, want %q", got, want)
	}
	owner.Release([]nixwire.StorePath{building})
	if got := names(t, s.roots); slices.Contains(got, building.Base()) {
		t.Errorf("its own is not released: %q", got)
	}
}

// TestRemoteFails has a server that is away, one that is hurried, and one that cannot make roots.
func TestRemoteFails(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	p := []nixwire.StorePath{path(t, "p")}
	var away *nixconn.AwayError
	if err := hold.NewRemote(s.socket, "j", time.Millisecond).Hold(t.Context(), p); !errors.As(err, &away) {
		t.Error("away:", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	if err := hold.NewRemote(s.socket, "j", time.Minute).Hold(ctx, p); err == nil || !strings.Contains(err.Error(), "enough") {
		t.Error("hurried:", err)
	}
	if err := os.WriteFile(filepath.Join(s.roots, "jobs"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s.start(t)
	defer s.stop()
	r := hold.NewRemote(s.socket, "j", time.Minute)
	defer r.Close()
	if err := r.Hold(t.Context(), p); err == nil || !strings.Contains(err.Error(), "directory for the job's Nix roots") {
		t.Error("no directory:", err)
	}
}

// TestServerHostile says what no Remote says: nothing is made but in a job's directory, and others are served.
func TestServerHostile(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.start(t)
	defer s.stop()
	for name, say := range map[string]func(w *nixwire.Writer){
		"no job":        func(w *nixwire.Writer) { w.String("") },
		"above":         func(w *nixwire.Writer) { w.String("..") },
		"elsewhere":     func(w *nixwire.Writer) { w.String("a/../../b") },
		"no name":       func(w *nixwire.Writer) { w.String("a b") }, // which would have every later collection fail
		"too long":      func(w *nixwire.Writer) { w.String(strings.Repeat("j", 129)) },
		"a long name":   func(w *nixwire.Writer) { w.Uint64(1 << 60) },
		"no request":    func(w *nixwire.Writer) { w.String("j"); w.Uint64(7); w.Uint64(1) },
		"no store path": func(w *nixwire.Writer) { w.String("j"); w.Uint64(1); w.Uint64(1); w.String("../../../evil") },
		"the seed":      func(w *nixwire.Writer) { w.String("j"); w.Uint64(2); w.Uint64(1); w.String(".root") },
		"a long path":   func(w *nixwire.Writer) { w.String("j"); w.Uint64(1); w.Uint64(1 << 62); w.Uint64(1 << 62) },
	} {
		c, err := net.Dial("unix", s.socket)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(time.Minute))
		w := nixwire.NewWriter(c, 256)
		say(w)
		_ = w.Flush() // it may be closed
		if n, err := c.Read(make([]byte, 8)); err == nil {
			t.Errorf("%s: it answers %d bytes", name, n)
		}
		_ = c.Close()
	}
	r := hold.NewRemote(s.socket, "k", time.Minute)
	defer r.Close()
	if err := r.Hold(t.Context(), []nixwire.StorePath{path(t, "p")}); err != nil {
		t.Error(err)
	}
	entries, err := os.ReadDir(s.roots)
	if err != nil || len(entries) != 1 {
		t.Error("beside the jobs:", entries, err)
	}
	if jobs, err := os.ReadDir(filepath.Join(s.roots, "jobs")); err != nil || len(jobs) > 2 {
		t.Error("jobs:", jobs, err)
	}
}
