package nixconn_test

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gitlab.com/skerry/skerry/internal/nixstore/nixconn"
	"gitlab.com/skerry/skerry/internal/nixstore/nixwire"
)

// greeter is a daemon that says hello and no more, and knows who has come.
func greeter(t testing.TB) (socket string, peers <-chan unix.Ucred) {
	t.Helper()
	dir, err := os.MkdirTemp("", "nix")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket = filepath.Join(dir, "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	for p, mode := range map[string]fs.FileMode{dir: 0o755, socket: 0o666} {
		if err := os.Chmod(p, mode); err != nil {
			t.Fatal(err)
		}
	}
	came := make(chan unix.Ucred, 1000)
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.AcceptUnix()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer c.Close()
				raw, err := c.SyscallConn()
				if err != nil {
					t.Error(err)
					return
				}
				_ = raw.Control(func(fd uintptr) {
					if who, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
						came <- *who
					}
				})
				conn := nixconn.New(c)
				if err := nixwire.ReadGreeting(conn.R); err != nil {
					return
				}
				_, _ = nixwire.Offer(conn.R, conn.W, nixwire.Newest)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		serving.Wait()
	})
	return socket, came
}

func dial(ctx context.Context, socket string, unprivileged bool) error {
	up, _, err := nixconn.Dialer{Socket: socket, Wait: 3 * time.Second, Unprivileged: unprivileged}.Dial(ctx)
	if err != nil {
		return err
	}
	return up.Close()
}

// TestUnprivileged connects many times at once, in both ways: the peer sees whom it is meant to see, and this process
// is left as it was.
func TestUnprivileged(t *testing.T) {
	t.Parallel()
	own := uint32(os.Geteuid()) //nolint:gosec // an id
	nobody := own
	if own == 0 {
		nobody = nixconn.Nobody
	}
	for _, c := range []struct {
		unprivileged bool
		want         uint32
	}{{true, nobody}, {false, own}} {
		socket, came := greeter(t)
		const times = 50
		var all sync.WaitGroup
		for range times {
			all.Go(func() {
				if err := dial(t.Context(), socket, c.unprivileged); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		for range times {
			if who := <-came; who.Uid != c.want || c.unprivileged && own == 0 && who.Gid != nixconn.Nobody {
				t.Errorf("unprivileged %t: the peer sees %+v", c.unprivileged, who)
			}
		}
	}
	// Another test's connection may be on its way just now.
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		nobody := threadOfNobody(t)
		n, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
		if err == nil && n == 1 && nobody == "" {
			break
		}
		if err != nil || time.Now().After(end) {
			t.Fatalf("dumpable: %d, %v; a thread that is still nobody: %s", n, err, nobody)
		}
	}
}

// threadOfNobody is the status of a thread of this process that is nobody; empty: there is none.
func threadOfNobody(t *testing.T) string {
	t.Helper()
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		status, err := os.ReadFile(filepath.Join("/proc/self/task", task.Name(), "status"))
		if err == nil && strings.Contains(string(status), "\t65534") {
			return string(status)
		}
	}
	return ""
}

// TestClosedSocket says as whom the gateway came.
func TestClosedSocket(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root becomes nobody")
	}
	socket, _ := greeter(t)
	if err := os.Chmod(socket, 0o600); err != nil {
		t.Fatal(err)
	}
	err := dial(t.Context(), socket, true)
	var away *nixconn.AwayError
	if !errors.As(err, &away) || !strings.Contains(err.Error(), "65534") || !strings.Contains(err.Error(), "closed to") {
		t.Error(err)
	}
}

// TestNotAllowed is turned away as Nix does it: without a word.
func TestNotAllowed(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-ended
	})
	if err := dial(t.Context(), socket, false); err == nil || !strings.Contains(err.Error(), "allowed-users") {
		t.Error(err)
	}
}

func BenchmarkDial(b *testing.B) {
	for name, unprivileged := range map[string]bool{"own": false, "nobody": true} {
		b.Run(name, func(b *testing.B) {
			socket, came := greeter(b)
			for b.Loop() {
				if err := dial(b.Context(), socket, unprivileged); err != nil {
					b.Fatal(err)
				}
				<-came
			}
		})
	}
}
