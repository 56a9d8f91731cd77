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
	"gitlab.com/skerry/skerry/internal/executor/sockdir"
)

// The files of an environment. All but what is in dirAgent belong to the runner alone.
const (
	fileRef    = "ref"    // the Ref: an environment without it is half-made or half-removed
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

	mu       sync.Mutex
	restarts int
	died     error // why the last agent died
}

func (v *environment) path(elem ...string) string {
	return filepath.Join(append([]string{v.dir}, elem...)...)
}

// make makes the directories, or completes them; the file with the ref comes first, so that nothing
// exists which Reconcile cannot find.
func (v *environment) make() error {
	who, err := lookup(v.e.o.User)
	if err != nil {
		return err
	}
	mode := fs.FileMode(0o700)
	if who.other {
		mode = 0o711
	}
	if err := os.MkdirAll(v.dir, mode); err != nil {
		return fmt.Errorf("make the job's environment: %w", err)
	}
	if err := os.WriteFile(v.path(fileRef), []byte(v.ref.String()), 0o600); err != nil {
		return fmt.Errorf("make the job's environment: %w", err)
	}
	if err := os.Mkdir(v.path(dirAgent), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make the agent's directory: %w", err)
	}
	if _, err := embedded.Place(v.e.o.Agent, v.path(dirAgent)); err != nil {
		return err
	}
	if err := (agent.Config{}).Write(v.path(dirAgent)); err != nil {
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
			v.heal(conn)
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
		v.heal(conn)
		conn.Close()
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.restarts = maxRestarts // nothing is started again from here on
	var groups []group
	if p, ok := v.readAgent(); ok && p.alive() {
		groups, _ = groupsOf(strconv.Itoa(p.pid)) // without: the runner's own tell where it was
	}
	if err := v.stopAgent(ctx); err != nil {
		return err
	}
	removeSiblings(v.ref.Owner, groups)
	// The ref goes last: what is half-removed is still found.
	entries, err := os.ReadDir(v.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove the environment: %w", err)
	}
	for _, entry := range entries {
		if entry.Name() == fileRef {
			continue
		}
		if err := os.RemoveAll(v.path(entry.Name())); err != nil {
			return fmt.Errorf("remove the environment: %w", err)
		}
	}
	if err := os.RemoveAll(v.dir); err != nil {
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
