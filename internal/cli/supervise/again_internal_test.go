package supervise

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"gitlab.com/skerry/skerry/internal/systemid"
)

// root skips a test that gives files to others.
func root(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root gives files to others")
	}
}

// TestPrepareAgain: whatever jobs have made of the directories of the engine's user, the container starts again.
func TestPrepareAgain(t *testing.T) {
	t.Parallel()
	root(t)
	const sub = 65530
	for name, spoil := range map[string]func(l layout) error{
		"caches of a user of jobs": func(l layout) error { return os.Chown(l.caches, sub, sub) },
		"storage of a user of jobs": func(l layout) error {
			return os.Chown(filepath.Join(l.engine.home, ".local/share/containers"), sub, sub)
		},
		"a home of a user of jobs": func(l layout) error { return os.Chown(l.engine.home, sub, sub) },
		"a home that is closed":    func(l layout) error { return os.Chmod(l.engine.home, 0) },
		"a link": func(l layout) error {
			at := filepath.Join(l.engine.home, ".local")
			return errors.Join(os.Rename(at, at+".old"), os.Symlink("/etc", at))
		},
		"a file": func(l layout) error {
			at := filepath.Join(l.engine.home, ".local")
			return errors.Join(os.Rename(at, at+".old"), os.WriteFile(at, nil, 0o600))
		},
		"a file beside the socket": func(l layout) error { return os.WriteFile(filepath.Join(l.sockets, "stray"), nil, 0o600) },
		"a directory for a socket": func(l layout) error {
			at := filepath.Join(l.sockets, "podman.sock")
			return errors.Join(os.Remove(at), os.MkdirAll(at+"/x", 0o700))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			l := layout{
				runner: account{name: "runner", uid: 65533, gid: 65533},
				engine: account{name: "podman", uid: 65532, gid: 65532, home: dir + "/home"}, runtimeDir: dir + "/run/user/65532",
				caches: dir + "/cache", locks: dir + "/lock", sockets: dir + "/run/podman",
			}
			if err := os.Mkdir(l.caches, 0o755); err != nil {
				t.Fatal(err)
			}
			started(t, l)
			if err := spoil(l); err != nil {
				t.Fatal(err)
			}
			started(t, l)
			for _, path := range []string{l.engine.home, l.engine.home + "/.local", l.engine.home + "/.local/share/containers", l.caches} {
				if uid, mode := ownerOf(t, path); uid != l.engine.uid || mode != 0o700 {
					t.Errorf("%s is of uid %d with mode %04o", path, uid, mode)
				}
			}
		})
	}
}

// started does what supervise does for the engine at a start of the container.
func started(t *testing.T, l layout) {
	t.Helper()
	if err := l.prepareEngine(); err != nil {
		t.Fatal(err)
	}
	f, err := l.listen(filepath.Join(l.sockets, "podman.sock"))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestIdentityStays: one that the runner has beside its configuration is the one that it keeps.
func TestIdentityStays(t *testing.T) {
	t.Parallel()
	root(t)
	dir := openDir(t)
	config := dir + "/home/.gitlab-runner/config.toml"
	l := layout{runner: account{name: "runner", uid: 65533, gid: 65533, home: dir + "/home"}, engine: account{uid: 65532, gid: 65532}, config: config}
	if err := errors.Join(own(dir+"/home", l.runner), own(filepath.Dir(config), l.runner), os.WriteFile(filepath.Join(filepath.Dir(config), systemid.File), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := l.prepareRunner(dir + "/state"); err != nil || l.config != config {
		t.Errorf("%s, %v", l.config, err)
	}
}

// TestGuardReadOnly: a mount that cannot be changed is fine as long as it is closed to the engine's user as it is.
func TestGuardReadOnly(t *testing.T) {
	t.Parallel()
	root(t)
	runner, engine := account{name: "runner", uid: 65533, gid: 65533}, account{name: "podman", uid: 65532, gid: 65532}
	for name, c := range map[string]struct {
		uid, gid int
		mode     os.FileMode
		good     bool
	}{
		"the runner's, and root's group": {runner.uid, 0, 0o640, true},
		"root's, and the runner's group": {0, runner.gid, 0o440, true},
		"root's alone":                   {0, 0, 0o600, false},
		"everybody's":                    {runner.uid, 0, 0o644, false},
		"the engine's group":             {runner.uid, engine.gid, 0o640, false},
		"another group":                  {runner.uid, 65530, 0o640, false},
		"another user's":                 {65530, runner.gid, 0o640, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(openDir(t), "config.toml")
			if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Chown(path, c.uid, c.gid), os.Chmod(path, c.mode)); err != nil {
				t.Fatal(err)
			}
			if err := unix.Mount(path, path, "", unix.MS_BIND, ""); err != nil {
				if os.Getenv("CI") != "" {
					t.Fatal("mount for a test:", err)
				}
				t.Skip("this machine has no mounts for tests:", err)
			}
			t.Cleanup(func() {
				if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
					t.Error(err)
				}
			})
			if err := unix.Mount("", path, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
				t.Fatal(err)
			}
			if err := guard(path, runner, engine); (err == nil) != c.good {
				t.Error(err)
			}
		})
	}
}
