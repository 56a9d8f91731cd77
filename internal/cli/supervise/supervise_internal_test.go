package supervise

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/calendar"
	"gitlab.com/skerry/skerry/internal/cli/program"
)

// quiet is a program whose environment is env.
func quiet(env map[string]string) *program.Program {
	p := program.New([]string{"skerry"}, program.Streams{In: &bytes.Buffer{}, Out: &bytes.Buffer{}, Err: &bytes.Buffer{}}, program.Build{})
	p.Env = func(key string) (string, bool) {
		v, ok := env[key]
		return v, ok
	}
	return p
}

// given is what New makes of a command line.
func given(t *testing.T, env map[string]string, args ...string) (err error) {
	t.Helper()
	p := quiet(env)
	p.UID = 1 // nothing is done in any case
	cmd := New(p, nil)
	cmd.SetArgs(args)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	return cmd.ExecuteContext(t.Context())
}

func TestCommandLine(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		env  map[string]string
		args []string
		want string
	}{
		"all is well but the user": {nil, nil, "needs root of its container"},
		"engine's level":           {nil, []string{"--engine-log-level", "loud"}, "one of trace, debug, info, warn"},
		"engine's level by name":   {map[string]string{"PODMAN_LOG_LEVEL": "loud"}, nil, "one of trace, debug, info, warn"},
		"level in capitals":        {map[string]string{"PODMAN_LOG_LEVEL": "WARNING"}, nil, "needs root of its container"},
		"interval":                 {map[string]string{"PRUNE_INTERVAL": "sometimes"}, nil, "PRUNE_INTERVAL): \"sometimes\" says no time"},
		"interval wins":            {map[string]string{"PRUNE_INTERVAL": "sometimes"}, []string{"--prune-interval", "off"}, "needs root of its container"},
		"relative state":           {nil, []string{"--state-dir", "state"}, "absolute"},
		"relative socket":          {nil, []string{"--socket", "podman.sock"}, "absolute"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := given(t, c.env, c.args...)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
			var usage *program.UsageError
			if wants := !strings.Contains(c.want, "root"); errors.As(err, &usage) != wants {
				t.Errorf("%v: a usage error: %t", err, !wants)
			}
		})
	}
}

func TestContained(t *testing.T) {
	t.Parallel()
	docker, none := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(docker, ".dockerenv"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if !contained(1, none) || !contained(2, docker) || contained(2, none) {
		t.Error("a machine is taken for a container, or a container for a machine")
	}
}

func TestEngineEnvironment(t *testing.T) {
	t.Parallel()
	got := engineEnvironment([]string{
		"REGISTRATION_TOKEN=secret", "CI_SERVER_TOKEN=secret", "HTTPS_PROXY=p", "no_proxy=n", "CONTAINERS_CONF=c", "_CONTAINERS_USERNS_CONFIGURED=",
		"STORAGE_DRIVER=vfs", "BUILDAH_ISOLATION=chroot", "LC_ALL=C", "TZ=UTC", "container=podman", "HOME=/root", "XDG_RUNTIME_DIR=/run/user/0", "PATH=/bin",
		"CONTAINER_HOST=unix:///elsewhere", "SSL_CERT_FILE=/f",
	})
	want := []string{
		"HTTPS_PROXY=p", "no_proxy=n", "CONTAINERS_CONF=c", "_CONTAINERS_USERNS_CONFIGURED=", "STORAGE_DRIVER=vfs", "BUILDAH_ISOLATION=chroot",
		"LC_ALL=C", "TZ=UTC", "container=podman", "SSL_CERT_FILE=/f",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// ownerOf is the uid and mode of a file.
func ownerOf(t *testing.T, path string) (uid int, mode os.FileMode) {
	t.Helper()
	i, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return int(i.Sys().(*syscall.Stat_t).Uid), i.Mode().Perm()
}

// openDir is a directory of the test's that every user may enter.
func openDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestPrepareRunner: a secret that every user may read becomes the runner's alone, and the runner finds it by a name beside which
// it can keep its identity; directories are its own, those of others are not taken away from them.
func TestPrepareRunner(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("only root gives files to others")
	}
	dir := openDir(t)
	state, home, config := dir+"/volume/state", dir+"/home", dir+"/config.toml"
	if err := os.WriteFile(config, []byte("concurrent = 1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	l := layout{runner: account{name: "runner", uid: 65533, gid: 65533, home: home}, engine: account{uid: 65532, gid: 65532}, config: config}
	for range 2 { // and once more as after a restart
		l.config = config
		if err := l.prepareRunner(state); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]os.FileMode{state: 0o700, home: 0o700, config: 0o600, state + "/config": 0o700} {
		if uid, mode := ownerOf(t, path); uid != 65533 || mode != want {
			t.Errorf("%s is of uid %d with mode %04o", path, uid, mode)
		}
	}
	text, err := os.ReadFile(l.config)
	if err != nil || string(text) != "concurrent = 1\n" || filepath.Dir(l.config) != state+"/config" {
		t.Errorf("%s: %q, %v", l.config, text, err)
	}
	other := l
	other.runner.uid = 65532
	if err := other.prepareRunner(state); err == nil || !strings.Contains(err.Error(), "chown -R") {
		t.Errorf("the directories of another user: %v", err)
	}
}

// TestStateAbove: the state directory is nowhere where the engine's user could replace it.
func TestStateAbove(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("only root gives files to others")
	}
	runner := account{name: "runner", uid: 65533, gid: 65533}
	for name, c := range map[string]struct {
		uid  int
		mode os.FileMode
		want string
	}{
		"root's":                  {0, 0o755, ""},
		"the runner's":            {65533, 0o700, ""},
		"the engine's":            {65532, 0o711, "a volume of its own"},
		"everybody's":             {0, 0o777, "a volume of its own"},
		"everybody's, as /tmp is": {0, 0o777 | os.ModeSticky, ""},
		"root's alone":            {0, 0o700, "cannot come to"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := openDir(t)
			if err := errors.Join(os.Chown(dir, c.uid, 0), os.Chmod(dir, c.mode)); err != nil {
				t.Fatal(err)
			}
			err := above(dir+"/state", runner)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// TestConfigurationOfItsOwn: one in a directory of the runner's has a name in the state directory, too, also before it is there: the
// directory may end with the container, and with it who the runner is towards GitLab.
func TestConfigurationOfItsOwn(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("only root gives files to others")
	}
	dir := openDir(t)
	config := dir + "/home/.gitlab-runner/config.toml"
	l := layout{runner: account{name: "runner", uid: 65533, gid: 65533, home: dir + "/home"}, engine: account{uid: 65532, gid: 65532}, config: config}
	if err := l.prepareRunner(dir + "/state"); err != nil {
		t.Fatal(err)
	}
	if uid, mode := ownerOf(t, filepath.Dir(config)); uid != 65533 || mode != 0o700 || l.config != dir+"/state/config/config.toml" {
		t.Errorf("%s: uid %d, mode %04o", l.config, uid, mode)
	}
	if to, err := os.Readlink(l.config); err != nil || to != config {
		t.Errorf("%s leads to %s: %v", l.config, to, err)
	}
}

// TestGuard: what the engine's user can read is no place for tokens, and by a link nothing is given to the runner.
func TestGuard(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("only root gives files to others")
	}
	runner, engine := account{name: "runner", uid: 65533, gid: 65533}, account{name: "podman", uid: 65532, gid: 65532}
	dir := openDir(t)
	write := func(name string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("token"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	link := func(name, to string) string {
		path := filepath.Join(dir, name)
		if err := os.Symlink(to, path); err != nil {
			t.Fatal(err)
		}
		return path
	}
	read, secret := write("read", 0o444), write("secret", 0o600)
	for name, c := range map[string]struct{ path, want string }{
		"for everybody":      {read, ""},
		"a link to a secret": {link("closed", secret), ""},
		"a link for all":     {link("open", write("all", 0o644)), "--secret config.toml,uid=65533"},
		"nothing there":      {dir + "/none", ""},
		"a directory":        {dir, "is no file"},
	} {
		err := guard(c.path, runner, engine)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if uid, mode := ownerOf(t, read); uid != 65533 || mode != 0o400 {
		t.Errorf("the secret is of uid %d with mode %04o", uid, mode)
	}
	if uid, _ := ownerOf(t, secret); uid != 0 {
		t.Errorf("a link gave root's file to uid %d", uid)
	}
}

func TestPrepareEngine(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("only root gives files to others")
	}
	dir := t.TempDir()
	l := layout{engine: account{name: "podman", uid: 65532, gid: 65532, home: dir + "/home"}, runtimeDir: dir + "/run/user/65532", caches: dir + "/cache", locks: dir + "/lock"}
	if err := os.WriteFile(l.locks, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	store := dir + "/home/.local/share/containers"
	if err := os.MkdirAll(l.runtimeDir+"/libpod/tmp", 0o755); err != nil {
		t.Fatal(err)
	}
	for _, volume := range []string{store, l.caches} { // new
		if err := os.MkdirAll(volume, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.prepareEngine(); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{l.caches, store, filepath.Dir(store), l.engine.home, l.runtimeDir} {
		if uid, mode := ownerOf(t, path); uid != 65532 || mode != 0o700 {
			t.Errorf("%s is of uid %d with mode %04o", path, uid, mode)
		}
	}
	if left, err := os.ReadDir(l.runtimeDir); err != nil || len(left) > 0 {
		t.Errorf("of an earlier life: %v, %v", left, err)
	}
	if _, err := os.Stat(l.locks); err == nil {
		t.Error("the locks of an earlier life are there")
	}
}

func TestAccounts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ runner, engine, want string }{
		{"no-such-user", "nobody", "--runner-user no-such-user"},
		{"nobody", "root", "--engine-user root is root"},
		{"nobody", "nobody", "two users"},
	} {
		if _, _, err := accounts(options{runnerUser: c.runner, engineUser: c.engine}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
}

// TestListen: the socket is open, in a directory in which only the runner and the engine come.
func TestListen(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("only root gives files to others")
	}
	dir := t.TempDir()
	l := layout{runner: account{uid: 65533, gid: 65533}, engine: account{uid: 65532, gid: 65532}}
	for range 2 { // and once more as after a restart
		f, err := l.listen(dir + "/run/podman/podman.sock")
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if uid, mode := ownerOf(t, dir+"/run/podman"); uid != 65532 || mode != 0o510 {
		t.Errorf("the directory is of uid %d with mode %04o", uid, mode)
	}
	if _, mode := ownerOf(t, dir+"/run/podman/podman.sock"); mode != 0o666 {
		t.Errorf("the socket has mode %04o", mode)
	}
	if _, err := l.listen(dir + "/run/other.sock"); err == nil || !strings.Contains(err.Error(), "of its own") {
		t.Errorf("in a directory with others: %v", err)
	}
}

func TestRepeat(t *testing.T) {
	t.Parallel()
	s, err := calendar.Parse("*-*-* *:*:*") // every second
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	times := 0
	repeat(ctx, s, func() {
		times++
		cancel()
	})
	if times != 1 {
		t.Errorf("done %d times, want until it is over", times)
	}
	repeat(t.Context(), calendar.Schedule{}, func() { t.Error("never is now") })
}
