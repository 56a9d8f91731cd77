package journal

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The names of the journal's other files in the state directory.
const (
	lockName     = "journal.lock"
	identityName = "identity"
)

// StateDir makes the directory path with mode 0700 when it is missing, its parents too, and
// otherwise checks that it is a directory, belongs to this process's user and is closed to
// everybody else: it holds tokens and logs. It never changes a directory that exists.
func StateDir(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return fmt.Errorf("create state directory: %w", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("check state directory: %w", err)
	}
	sys, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("check state directory %s: the system does not say who owns it", path)
	}
	if uid := os.Geteuid(); int(sys.Uid) != uid {
		return fmt.Errorf("state directory %s belongs to uid %d and this process runs as uid %d: "+
			"start it as that user, give the directory away with chown, or set another with --state-dir", path, sys.Uid, uid)
	}
	if perm := info.Mode().Perm(); perm&0o077 != 0 {
		return fmt.Errorf("state directory %s has mode %04o and is open to other users, but it holds tokens and job logs: "+
			"run chmod 0700 on it, or set another with --state-dir", path, perm)
	}
	return nil
}

// HeldError says that another process has the journal open.
type HeldError struct {
	Path   string // of the lock
	Holder string // "pid 1234 on host name"; empty when the lock does not say
}

func (e *HeldError) Error() string {
	holder := e.Holder
	if holder == "" {
		holder = "a process that did not leave its pid"
	}
	return fmt.Sprintf("state directory %s is in use by %s: stop that runner, or give this one its own directory with --state-dir",
		filepath.Dir(e.Path), holder)
}

// A lock that has been let go can be held a moment longer: a child that was being started just then has
// the descriptor until its own program runs. So a lock is waited for, longer if its holder has died.
const (
	lockPatience     = 500 * time.Millisecond
	lockPatienceDead = 5 * time.Second
)

// takeLock locks the file at path for the life of the returned file and writes who holds it.
func takeLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the journal's lock: %w", err)
	}
	host, err := os.Hostname()
	if err != nil {
		host = "an unnamed host"
	}
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) {
			break
		}
		b := make([]byte, 256)
		n, _ := f.ReadAt(b, 0)
		holder := strings.TrimSpace(string(b[:n]))
		patience := lockPatience
		if died(holder, host) {
			patience = lockPatienceDead
		}
		if time.Since(began) > patience {
			return nil, errors.Join(&HeldError{Path: path, Holder: holder}, f.Close())
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
	}
	// Who holds the lock is only for people to read: a disk too full for it must not stop the start.
	_ = f.Truncate(0)
	_, _ = f.WriteAt(fmt.Appendf(nil, "pid %d on %s\n", os.Getpid(), host), 0)
	return f, nil
}

// died reports whether the holder of a lock is a process of this host that is not there any more.
func died(holder, host string) bool {
	var pid int
	var at string
	if _, err := fmt.Sscanf(holder, "pid %d on %s", &pid, &at); err != nil || at != host {
		return false
	}
	return errors.Is(unix.Kill(pid, 0), unix.ESRCH)
}

// identity is what must survive the loss of the journal: a new owner id would orphan every
// environment that still exists, and a lower epoch would be refused by every agent.
type identity struct {
	Owner string `json:"owner"`
	Epoch int64  `json:"epoch"`
}

// readIdentity reads the identity file; one that is missing or makes no sense is as good as none.
func readIdentity(path string) (identity, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return identity{}, nil
	}
	if err != nil {
		return identity{}, fmt.Errorf("read the runner's identity: %w", err)
	}
	id, ok := parseIdentity(b)
	if !ok {
		return identity{}, nil
	}
	return id, nil
}

func parseIdentity(b []byte) (identity, bool) {
	var id identity
	err := json.Unmarshal(b, &id)
	return id, err == nil && validOwner(id.Owner) && id.Epoch >= 0 && id.Epoch < 1<<62
}

func writeIdentity(path string, id identity) error {
	b, err := json.Marshal(id)
	if err != nil {
		return fmt.Errorf("encode the runner's identity: %w", err)
	}
	if err := replace(path, append(b, '\n')); err != nil {
		return fmt.Errorf("write the runner's identity: %w", err)
	}
	return nil
}

// replace writes data to path by way of a second file and a rename, both on disk when it returns.
func replace(path string, data []byte) error {
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func validOwner(s string) bool {
	return len(s) == 16 && strings.Trim(s, "0123456789abcdef") == ""
}
