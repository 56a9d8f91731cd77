// Package volumes is what a domain's Nix store lies in, as the containers that serve and seed it see it, and Nix as it is
// installed there: directories, locks, roots, the database.
package volumes

import (
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

// Where Nix's store and state are for whoever uses them.
const (
	StoreDir = "/nix/store"
	StateDir = "/nix/var/nix"
)

// SeedDir is where a container that seeds has the volumes: store, var and, nested in it, var/gcroots/skerry.
const SeedDir = "/.skerry/nix"

// Layout is where things are. Its root is empty but in tests.
type Layout struct {
	Root   string
	Seeded bool // the volumes are below SeedDir
}

// Store is the directory of the store's volume.
func (l Layout) Store() string { return l.volume("/store", StoreDir) }

// State is the directory of the state's volume.
func (l Layout) State() string { return l.volume("/var", StateDir) }

// Gate is the directory of the gate's volume.
func (l Layout) Gate() string { return l.State() + "/gcroots/skerry" }

func (l Layout) volume(seeded, usual string) string {
	if l.Seeded {
		return l.Root + SeedDir + seeded
	}
	return l.Root + usual
}

// Run is a directory of the container alone.
func (l Layout) Run() string { return l.Root + "/run/skerry-nix" }

// Etc is the container's /etc.
func (l Layout) Etc() string { return l.Root + "/etc" }

// Socket is where nix-daemon listens.
func (l Layout) Socket() string { return l.Gate() + "/daemon/socket" }

// Jobs has a directory of roots for each running job.
func (l Layout) Jobs() string { return l.Gate() + "/jobs" }

// Pins has a directory of roots for each pin.
func (l Layout) Pins() string { return l.Gate() + "/pins" }

// Pushes has a directory of roots of what is to be pushed to a binary cache.
func (l Layout) Pushes() string { return l.Gate() + "/push" }

// Recent has a directory of roots for each hour.
func (l Layout) Recent() string { return l.Gate() + "/recent" }

// Hour is the directory in Recent for a time.
func (l Layout) Hour(t time.Time) string {
	return filepath.Join(l.Recent(), t.UTC().Format(HourFormat))
}

// Memory is a directory of ours beside Nix's own state.
func (l Layout) Memory() string { return l.State() + "/skerry" }

// Real is where a store path lies.
func (l Layout) Real(p string) string { return l.Store() + strings.TrimPrefix(p, StoreDir) }

// HourFormat names the directories in recent.
const HourFormat = "2006-01-02T15"

// Make makes the directories that Nix and we need in the volumes.
func (l Layout) Make() error {
	for _, d := range []struct {
		path string
		mode fs.FileMode
	}{
		{l.Store(), 0o755}, // Nix gives it to its build users
		{l.State(), 0o755}, {l.State() + "/db", 0o755}, {l.State() + "/temproots", 0o755}, {l.State() + "/gcroots", 0o755},
		{l.State() + "/profiles", 0o755}, {l.State() + "/profiles/per-user", 0o755}, {l.State() + "/userpool", 0o755},
		{l.State() + "/gc-socket", 0o755}, {l.State() + "/log", 0o755}, {l.Memory(), 0o755},
		{l.Gate(), 0o755}, {l.Gate() + "/daemon", 0o755}, {l.Jobs(), 0o755}, {l.Pins(), 0o755}, {l.Pushes(), 0o755}, {l.Recent(), 0o755},
	} {
		if err := os.MkdirAll(d.path, d.mode); err != nil {
			return fmt.Errorf("prepare the store's volumes: %w", err)
		}
		if err := os.Chmod(d.path, d.mode); err != nil && d.path != l.Store() {
			return fmt.Errorf("prepare the store's volumes: %w", err)
		}
	}
	return nil
}

// Lock is an exclusive lock on a file that is made if need be. The kernel gives it up when its holder dies.
type Lock struct{ f *os.File }

// Release gives it up.
func (k Lock) Release() { _ = k.f.Close() }

// errHeld says that another process has the lock.
var errHeld = errors.New("is held by another process")

// Take locks the file, and waits for it until wait is over.
func Take(path string, wait time.Duration) (Lock, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return Lock{}, err
	}
	for deadline := time.Now().Add(wait); ; time.Sleep(50 * time.Millisecond) {
		switch err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
		case err == nil:
			return Lock{f}, nil
		case errors.Is(err, unix.EINTR):
			continue
		case !errors.Is(err, unix.EWOULDBLOCK):
			_ = f.Close()
			return Lock{}, fmt.Errorf("lock %s: %w", path, err)
		case time.Now().After(deadline):
			_ = f.Close()
			return Lock{}, fmt.Errorf("%s %w", path, errHeld)
		}
	}
}

// Own makes this process the only one that may serve or seed the volumes.
func (l Layout) Own(wait time.Duration) (Lock, error) {
	k, err := Take(l.Gate()+"/daemon/lock", wait)
	if errors.Is(err, errHeld) {
		return k, errors.New("another container serves or seeds this store: stop it first")
	}
	return k, err
}

// Basename is the store path's name of a path in the store, or empty.
func Basename(p string) string {
	rest, ok := strings.CutPrefix(filepath.Clean(p), StoreDir+"/")
	if !ok {
		return ""
	}
	name, _, _ := strings.Cut(rest, "/")
	if !IsStoreName(name) {
		return ""
	}
	return name
}

// IsStoreName reports whether a name in the store is that of a path: a hash of 32 digits, a dash and a name.
// Source: Nix manual, "Store Path".
func IsStoreName(name string) bool {
	if len(name) < 34 || len(name) > 32+1+211+len(".drv.chroot") || name[32] != '-' {
		return false
	}
	for i := range len(name) {
		switch c := name[i]; {
		case i < 32 && !isDigit(c):
			return false
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("+-._?=", c) >= 0:
		default:
			return false
		}
	}
	return true
}

// isDigit reports whether a byte is a digit of a hash. A large store has millions.
func isDigit(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' && c != 'e' && c != 'o' && c != 't' && c != 'u'
}

// Settle gives a file in the store the time of modification that Nix gives all.
func Settle(path string) error {
	second := []unix.Timespec{{Sec: 1}, {Sec: 1}}
	return unix.UtimesNanoAt(unix.AT_FDCWD, path, second, unix.AT_SYMLINK_NOFOLLOW)
}

// Identify says which file it is, and whether it has several names.
func Identify(i fs.FileInfo) (Inode, bool) {
	st, ok := i.Sys().(*syscall.Stat_t)
	if !ok {
		return Inode{}, false
	}
	return Inode{uint64(st.Dev), st.Ino}, st.Nlink > 1 //nolint:unconvert // not the same on all machines
}

// Inode is a file, whatever names it has.
type Inode struct{ Dev, Number uint64 }
