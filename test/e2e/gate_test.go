package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
)

// gate is where a job's script waits for the test, without using the processor: the script wants a
// lock that the test holds or, in a container, the end of a connection to the test.
type gate struct {
	dir  string // empty: by a connection
	lock *os.File
	door *door
}

func newGate(t *testing.T) gate {
	t.Helper()
	return machine{}.gate(t)
}

// gate makes a gate for jobs of m.
func (m machine) gate(t *testing.T) gate {
	t.Helper()
	if !m.shell() {
		return gate{door: newDoor(t, m.address())}
	}
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "lock"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	return gate{dir: dir, lock: f}
}

// lines are script lines that say that they are there and wait for open.
func (g gate) lines() []string {
	if g.door != nil {
		a := g.door.listener.Addr().(*net.TCPAddr)
		return []string{fmt.Sprintf("if type nc > /dev/null 2>&1; then %s; else bash -c 'read -r x < /dev/tcp/%s/%d || true'; fi", g.door.line(), a.IP, a.Port)}
	}
	return []string{fmt.Sprintf("touch %s/reached; flock -s %s/lock true", g.dir, g.dir)}
}

// name is what tells the gate's lines from those of another.
func (g gate) name() string {
	if g.door != nil {
		return g.lines()[0]
	}
	return g.dir
}

// reached reports whether a script has come to the gate.
func (g gate) reached() bool {
	if g.door != nil {
		return g.door.visitors() > 0
	}
	return exists(filepath.Join(g.dir, "reached"))
}

func (g gate) await(t *testing.T) {
	t.Helper()
	until(t, "the script reaches its gate", g.reached)
}

func (g gate) open(t *testing.T) {
	t.Helper()
	if g.door != nil {
		g.door.open()
		return
	}
	if err := syscall.Flock(int(g.lock.Fd()), syscall.LOCK_UN); err != nil {
		t.Fatal(err)
	}
}

// door holds connections until it is opened.
type door struct {
	listener net.Listener
	opened   chan struct{}
	once     sync.Once
	done     sync.WaitGroup

	mu   sync.Mutex
	seen int
}

func newDoor(t *testing.T, address string) *door {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", address+":0")
	if err != nil {
		t.Fatal(err)
	}
	d := &door{listener: l, opened: make(chan struct{})}
	d.done.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			d.mu.Lock()
			d.seen++
			d.mu.Unlock()
			d.done.Go(func() {
				<-d.opened
				_ = c.Close()
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		d.open()
		d.done.Wait()
	})
	return d
}

// line is how busybox comes to the door.
func (d *door) line() string {
	a := d.listener.Addr().(*net.TCPAddr)
	return fmt.Sprintf("nc %s %d < /dev/null", a.IP, a.Port)
}

func (d *door) open() { d.once.Do(func() { close(d.opened) }) }

func (d *door) visitors() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.seen
}
