package shell

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"gitlab.com/skerry/skerry/internal/agent"
	"gitlab.com/skerry/skerry/internal/agent/embedded"
	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/scope"
	"gitlab.com/skerry/skerry/internal/executor/sockdir"
)

// The files of an environment. All but what is in dirAgent belong to the runner alone.
const (
	fileRef    = "ref"    // the Ref
	fileAgent  = "agent"  // the agent's pid and start time
	fileStderr = "stderr" // what the agent itself had to say
	dirAgent   = "place"  // the agent's state directory, the job user's
	exeAgent   = "agent"  // as embedded.Place names it
)

// maxRestarts is how often the agent of one environment is started again after it died. Its successor
// reports the stage that was under way as lost and serves what was recorded.
const maxRestarts = 3

// environment is one job's agent and its directory.
type environment struct {
	e   *Executor
	ref executor.Ref
	dir string
	// about tells people whose environment it is; empty where only the ref is known.
	about string

	mu       sync.Mutex
	restarts int
	died     error // why the last agent died
}

func (v *environment) path(elem ...string) string {
	return filepath.Join(append([]string{v.dir}, elem...)...)
}

// partly is where an environment is before its ref is written down and while it is removed: its name
// says whose it is, so that nothing exists which Reconcile cannot find, not even on a full disk.
func (v *environment) partly() string {
	return filepath.Join(v.e.o.Dir, partlyPrefix(v.ref.Owner)+v.ref.ID)
}

func partlyPrefix(owner executor.OwnerID) string { return "." + string(owner) + "." }

// begin makes the environment's directory with the ref in it, unless there is one.
func (v *environment) begin(mode fs.FileMode) error {
	if raw, err := os.ReadFile(v.path(fileRef)); err == nil && string(raw) == v.ref.String() {
		return nil
	}
	err := os.MkdirAll(v.partly(), mode)
	if err == nil {
		err = os.WriteFile(filepath.Join(v.partly(), fileRef), []byte(v.ref.String()), 0o600)
	}
	if err == nil {
		err = os.Rename(v.partly(), v.dir)
	}
	if err != nil {
		return fmt.Errorf("make the job's environment: %w", err)
	}
	return nil
}

// make makes the directories, or completes them. log gets lines for the job's author.
func (v *environment) make(log io.Writer) error {
	who, err := lookup(v.e.o.User)
	if err != nil {
		return err
	}
	mode := fs.FileMode(0o700)
	if who.other {
		mode = 0o711
	}
	if err := v.begin(mode); err != nil {
		return err
	}
	if err := os.Mkdir(v.path(dirAgent), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make the agent's directory: %w", err)
	}
	if _, err := embedded.Place(v.e.o.Agent, v.path(dirAgent)); err != nil {
		return err
	}
	if err := v.config(log).Write(v.path(dirAgent)); err != nil {
		return err
	}
	if !who.other {
		return nil
	}
	for _, p := range []string{v.path(dirAgent, agent.ConfigName), v.path(dirAgent)} {
		if err := os.Lchown(p, who.uid, who.gid); err != nil {
			return fmt.Errorf("give the agent's directory to %s: %w", v.e.o.User, err)
		}
	}
	return nil
}

// Dial implements executor.Environment. An agent that died is started again, a few times.
func (v *environment) Dial(ctx context.Context, _ executor.Place) (net.Conn, error) {
	for wait := 500 * time.Microsecond; ; wait = min(2*wait, 50*time.Millisecond) {
		conn, err := sockdir.Dial(ctx, v.path(dirAgent, "sock"), agent.SockName)
		if err == nil {
			v.heal(ctx, conn)
			return conn, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ECONNREFUSED) {
			return nil, err
		}
		if err := v.ensureAgent(ctx); err != nil {
			return nil, err
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, context.Cause(ctx)
		}
	}
}

// Diagnose implements executor.Environment.
func (v *environment) Diagnose(_ context.Context, _ executor.Place) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.died != nil {
		return v.died
	}
	if p, ok := v.readAgent(); ok && p.alive() {
		return nil
	}
	return v.lastWords()
}

// lastWords is how the agent died, with the end of what it had to say.
func (v *environment) lastWords() error {
	said := tail(v.path(fileStderr), 2048)
	if said == "" {
		return errors.New("the job's agent was killed (nothing of it is left; look for an out-of-memory kill in the kernel's log)")
	}
	return fmt.Errorf("the job's agent died; its last words: %s", said)
}

// Close implements executor.Environment.
func (v *environment) Close(ctx context.Context) error {
	// An agent that no record names is found by its socket.
	if conn, err := sockdir.Dial(ctx, v.path(dirAgent, "sock"), agent.SockName); err == nil {
		v.heal(ctx, conn)
		conn.Close()
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.restarts = maxRestarts // nothing is started again from here on
	var groups []scope.Group
	if p, ok := v.readAgent(); ok && p.alive() {
		groups, _ = scope.Of(strconv.Itoa(p.pid)) // without: the runner's own tell where it was
	}
	if err := v.stopAgent(ctx); err != nil {
		return err
	}
	scope.RemoveSiblings(siblingName(v.ref.Owner), groups)
	return v.remove()
}

// remove removes the directory.
func (v *environment) remove() error {
	err := os.RemoveAll(v.partly())
	if err == nil {
		if err = os.Rename(v.dir, v.partly()); errors.Is(err, fs.ErrNotExist) {
			return nil
		}
	}
	if err == nil {
		err = os.RemoveAll(v.partly())
	}
	if err != nil {
		return fmt.Errorf("remove the environment: %w", err)
	}
	return nil
}

// tail reads the last max bytes of a file as one line.
func tail(path string, size int64) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > size {
		if _, err := f.Seek(-size, io.SeekEnd); err != nil {
			return ""
		}
	}
	b, err := io.ReadAll(io.LimitReader(f, size))
	if err != nil {
		return ""
	}
	return strings.Join(strings.Fields(string(b)), " ")
}
