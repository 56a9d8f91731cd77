// Package nixtest gives tests real Nix of several versions, each in a root directory of its own with a private store, so
// that the machine's own /nix is not touched.
package nixtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Cache is where root directories are kept, beside the archives that they are made of: nix-RELEASE.tar.
const Cache = "/var/cache/skerry-test"

// Variable names a release of Debian whose version of Nix moves: it is tried as well.
const Variable = "SKERRY_TEST_NIX_RELEASE"

// releases are Debian's, by the version of Nix that they have.
func releases() map[string]string {
	r := map[string]string{"2.8": "bookworm", "2.26": "trixie"}
	if more := os.Getenv(Variable); more != "" {
		r[more] = more
	}
	return r
}

// Nix is a version of Nix with a store of its own, for one test.
type Nix struct {
	Version string
	// Dir is a directory of the test that processes of Nix see as /mnt.
	Dir  string
	root string
}

// Each runs test for each version of Nix, as a subtest. Where there is none it fails in CI, and is skipped elsewhere: it
// needs root, and mmdebstrap or what that has made before.
func Each(t *testing.T, test func(t *testing.T, n *Nix)) {
	t.Helper()
	for version := range releases() {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			test(t, New(t, version))
		})
	}
}

// New makes a store for a version of Nix, for the time of a test.
func New(t testing.TB, version string) *Nix {
	t.Helper()
	n, err := Make(t.Context(), version)
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	t.Cleanup(func() {
		if err := n.Remove(); err != nil {
			t.Log(err)
		}
	})
	return n
}

// Make makes a store for a version of Nix. The caller removes it.
func Make(ctx context.Context, version string) (*Nix, error) { return MakeIn(ctx, version, "") }

// MakeIn is Make below a directory of the caller's choice; empty: that for temporary files.
func MakeIn(ctx context.Context, version, parent string) (*Nix, error) {
	root, err := base(ctx, releases()[version])
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(parent, "nix") // short: the path of a socket has at most 108 bytes
	if err != nil {
		return nil, err
	}
	n := &Nix{Version: version, Dir: dir, root: root}
	for _, d := range []string{"nix/var/nix/gcroots/skerry/daemon", "nix/store", "etc", "jobetc", "job", "home"} {
		err = errors.Join(err, os.MkdirAll(filepath.Join(dir, d), 0o755))
	}
	const features = "experimental-features = nix-command flakes\n"
	for name, text := range map[string]string{
		"etc/nix.conf":    "trusted-users =\nallowed-users = *\nsandbox = false\nbuild-users-group =\nsubstituters =\n" + features,
		"jobetc/nix.conf": features,
	} {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	if err != nil {
		return nil, errors.Join(err, n.Remove())
	}
	return n, nil
}

// With is the same store with the programs of another version.
func (n *Nix) With(t testing.TB, version string) *Nix {
	t.Helper()
	root, err := base(t.Context(), releases()[version])
	if err != nil {
		t.Fatal(err)
	}
	return &Nix{Version: version, Dir: n.Dir, root: root}
}

// Remove removes the store.
func (n *Nix) Remove() error { return os.RemoveAll(n.Dir) }

// WriteFile writes a file in Dir.
func (n *Nix) WriteFile(t testing.TB, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(n.Dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Inside begins a line of a shell that others run: what follows runs in the root directory, in which Dir is where it is
// outside, and a gateway's socket, too.
func (n *Nix) Inside(t testing.TB) string {
	t.Helper()
	n.WriteFile(t, "inside", fmt.Sprintf(`exec unshare --mount --propagation private sh -ec '
		root=%[1]s dir=%[2]s
		mount --bind "$dir/nix" "$root/nix"
		mount --bind /proc "$root/proc"
		mount --rbind /dev "$root/dev"
		mount -t tmpfs tmpfs "$root/tmp"
		mkdir -p "$root$dir"
		mount --bind "$dir" "$root$dir"
		for d in ${NIX_DAEMON_SOCKET_PATH:+"${NIX_DAEMON_SOCKET_PATH%%/*}"}; do
			mkdir -p "$root$d"
			mount --bind "$d" "$root$d"
		done
		export NIX_CONF_DIR=$dir/jobetc HOME=$dir/home
		exec chroot "$root" "$@"' sh "$@"
`, n.root, n.Dir))
	return "sh " + filepath.Join(n.Dir, "inside")
}

// Gate is the directory of roots and of the daemon's socket, as the gateway sees it.
func (n *Nix) Gate() string { return filepath.Join(n.Dir, "nix/var/nix/gcroots/skerry") }

// Socket is the daemon's.
func (n *Nix) Socket() string { return filepath.Join(n.Gate(), "daemon/socket") }

// Listen is where a gateway listens for Job.
func (n *Nix) Listen() string { return filepath.Join(n.Dir, "job/socket") }

// Command is a command in the root directory, with mounts of its own, in a session of its own.
func (n *Nix) Command(ctx context.Context, env []string, args ...string) *exec.Cmd {
	return n.command(ctx, nil, env, args...)
}

func (n *Nix) command(ctx context.Context, flags, env []string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "unshare", append(append(flags, "--mount", "--propagation", "private", "sh", "-ec", `
		root=$1 dir=$2
		shift 2
		mount --bind "$dir/nix" "$root/nix"
		mount --bind "$dir" "$root/mnt"
		mount --bind /proc "$root/proc"
		mount --rbind /dev "$root/dev"
		exec chroot "$root" "$@"`, "sh", n.root, n.Dir), args...)...)
	cmd.Env = append([]string{
		"PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME=/mnt/home", "NIX_DAEMON_SOCKET_PATH=/nix/var/nix/gcroots/skerry/daemon/socket", "TMPDIR=/tmp",
	}, env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	return cmd
}

// Direct is the environment of a client of the daemon itself.
func Direct() []string {
	return []string{"NIX_CONF_DIR=/mnt/jobetc", "NIX_REMOTE=unix:///nix/var/nix/gcroots/skerry/daemon/socket"}
}

// Job is that of a client that knows the gateway only.
func Job() []string { return []string{"NIX_CONF_DIR=/mnt/jobetc", "NIX_REMOTE=unix:///mnt/job/socket"} }

// Run runs a command and returns what it wrote to standard output, and to standard error.
func (n *Nix) Run(ctx context.Context, env []string, args ...string) (stdout, stderr string, err error) {
	var out, errs strings.Builder
	cmd := n.Command(ctx, env, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return strings.TrimSpace(out.String()), errs.String(), err
}

// Must is Run for a command that has to succeed.
func (n *Nix) Must(t testing.TB, env []string, args ...string) string {
	t.Helper()
	stdout, stderr, err := n.Run(t.Context(), env, args...)
	if err != nil {
		t.Fatalf("%q: %v\n%s", args, err, stderr)
	}
	return stdout
}

// Daemon starts the daemon, until the test ends or stop is called.
func (n *Nix) Daemon(t testing.TB) (stop func()) {
	t.Helper()
	stop, err := n.Start(t.Context(), t.Output())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return stop
}

// Start starts the daemon and waits until it listens. It runs until stop is called, whatever becomes of ctx.
func (n *Nix) Start(ctx context.Context, stderr io.Writer) (stop func(), err error) {
	_ = os.Remove(n.Socket())
	own := []string{"--pid", "--fork", "--kill-child=KILL"} // what it starts has sessions of its own, and ends with it
	cmd := n.command(context.WithoutCancel(ctx), own, []string{"NIX_CONF_DIR=/mnt/etc"}, "nix-daemon")
	cmd.Stderr = stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // it is killed
	}()
	stop = func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // may be gone
		<-ended
	}
	var dialer net.Dialer
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for range 6000 {
		if conn, err := dialer.DialContext(ctx, "unix", n.Socket()); err == nil { // the socket is there a moment before somebody listens
			_ = conn.Close()
			return stop, nil
		}
		select {
		case <-ended:
			return nil, errors.New("nix-daemon does not start")
		case <-tick.C:
		}
	}
	stop()
	return nil, errors.New("nix-daemon makes no socket")
}

// Archive is the archive of a file system with a release of Debian and its Nix, made if it is not there, which takes root and
// mmdebstrap.
func Archive(ctx context.Context, release string) (string, error) {
	archive := filepath.Join(Cache, "nix-"+release+".tar")
	if _, err := os.Stat(archive); err == nil {
		return archive, nil
	}
	if os.Getuid() != 0 {
		return "", fmt.Errorf("there is no %s, and only root can make it", archive)
	}
	unlock, err := Lock(archive)
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(archive); err == nil {
		return archive, nil
	}
	const keys = "/usr/share/keyrings/debian-archive-keyring.gpg"
	if err := run(ctx, "mmdebstrap", "--quiet", "--variant=minbase", "--keyring="+keys, "--include=nix-bin,ca-certificates",
		"--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/doc/*", "--format=tar",
		release, archive+".new", fmt.Sprintf("deb [signed-by=%s] http://deb.debian.org/debian %s main", keys, release)); err != nil {
		return "", err
	}
	return archive, os.Rename(archive+".new", archive)
}

// Lock has path, in a directory that is made, be made by one process at a time.
func Lock(path string) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("wait for %s: %w", path, err), lock.Close())
	}
	return func() { _ = lock.Close() }, nil
}

// base is the root directory with a release of Debian and its Nix, made if it is not there.
func base(ctx context.Context, release string) (string, error) {
	root := filepath.Join(Cache, "root-"+release)
	if _, err := os.Stat(root); err == nil && os.Getuid() == 0 {
		return root, nil
	}
	if os.Getuid() != 0 {
		return "", errors.New("tests with real Nix need root, for mounts of their own")
	}
	archive, err := Archive(ctx, release)
	if err != nil {
		return "", err
	}
	unlock, err := Lock(root)
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(root); err == nil {
		return root, nil
	}
	if err := run(ctx, "sh", "-ec", `rm -rf "$1.new"; mkdir "$1.new"; tar -C "$1.new" -xf "$2"; mkdir -p "$1.new/nix" "$1.new/mnt"; mv "$1.new" "$1"`, "sh", root, archive); err != nil {
		return "", err
	}
	return root, nil
}

func run(ctx context.Context, program string, args ...string) error {
	if out, err := exec.CommandContext(ctx, program, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", program, err, out)
	}
	return nil
}
