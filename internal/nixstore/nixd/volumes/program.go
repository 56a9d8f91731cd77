package volumes

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Program is Nix as it is installed in this container.
type Program struct {
	Dir string   // with nix-daemon, nix-store, nix-build
	Env []string // of whatever of it is started
}

// ErrNoNix is what an image without Nix gets.
var ErrNoNix = errors.New("there is no Nix in this image: nix-daemon and nix-store are neither in PATH nor in " +
	"/nix/var/nix/profiles/default/bin, /root/.nix-profile/bin or /usr/bin; choose an image with Nix 2.8 or later (one whose " +
	"Nix is in its own /nix/store, which the domain's volumes hide, has to seed them first)")

// FindNix finds it: first where seeding from the image (from any, if it is empty) found it, for an image's profiles are
// hidden by the domain's volumes.
func FindNix(l Layout, image string) (Program, error) {
	var dirs []string
	if s, err := ReadSeeded(l); err == nil && (image == "" || image == s.Image) {
		dirs = append(dirs, s.Daemon)
	}
	dirs = append(dirs, filepath.SplitList(os.Getenv("PATH"))...)
	dirs = append(dirs, StateDir+"/profiles/default/bin", "/root/.nix-profile/bin", "/usr/bin", "/usr/local/bin")
	for _, d := range dirs {
		if d == "" || !filepath.IsAbs(d) || !runs(d+"/nix-daemon") || !runs(d+"/nix-store") {
			continue
		}
		return Program{Dir: d, Env: environment(d)}, nil
	}
	return Program{}, ErrNoNix
}

func runs(path string) bool {
	i, err := os.Stat(path)
	return err == nil && i.Mode().IsRegular() && i.Mode()&0o111 != 0
}

// environment is this process's own without what would give Nix settings that are not the container's nix.conf.
func environment(dir string) []string {
	env := slices.DeleteFunc(os.Environ(), func(pair string) bool {
		name, _, _ := strings.Cut(pair, "=")
		return strings.HasPrefix(name, "NIX_") && name != "NIX_SSL_CERT_FILE" || strings.HasPrefix(name, "_NIX_") ||
			slices.Contains([]string{"SKERRY_NIXD", "PATH", "HOME", "XDG_CONFIG_HOME", "XDG_CONFIG_DIRS", "LD_LIBRARY_PATH", "LD_PRELOAD",
				"LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"}, name)
	})
	return append(env,
		"PATH="+strings.TrimSuffix(dir+":"+os.Getenv("PATH"), ":"),
		"HOME=/root",
		"NIX_REMOTE=local", // Root has no need of the daemon
		"NIX_USER_CONF_FILES=/dev/null",
		"NIX_CONF_DIR=/etc/nix",
		"NIX_LOG_DIR="+StateDir+"/log", // on the volume
		"NIX_DAEMON_SOCKET_PATH="+Layout{}.Socket(),
	)
}

// OnVolumes is Nix at work on the volumes below SeedDir, which it serves as /nix/store, without build users.
func (p Program) OnVolumes(l Layout) Program {
	p.Env = append(slices.Clone(p.Env),
		"NIX_REMOTE=local?real="+l.Store()+"&state="+l.State()+"&log="+l.State()+"/log",
		"NIX_CONFIG=build-users-group =")
	return p
}

// maxSaid is how much of a program's complaint is passed on.
const maxSaid = 4 << 10

// Run runs one of Nix's programs to its end and returns what it printed.
func (p Program) Run(ctx context.Context, in io.Reader, name string, args ...string) ([]byte, error) {
	var out bytes.Buffer
	err := p.Stream(ctx, in, &out, name, args...)
	return out.Bytes(), err
}

// Stream is Run with an output that somebody reads meanwhile.
func (p Program) Stream(ctx context.Context, in io.Reader, out io.Writer, name string, args ...string) error {
	said := &Tail{Limit: maxSaid}
	c := p.Command(ctx, name, args...)
	c.Stdin, c.Stdout, c.Stderr = in, out, said
	if err := c.Run(); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fmt.Errorf("%s: %w: %s", name, err, said)
	}
	return nil
}

// Command is one of Nix's programs, which ctx interrupts.
func (p Program) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, filepath.Join(p.Dir, name), args...) //nolint:gosec // it is the image's Nix
	c.Env, c.Dir = p.Env, "/"
	c.Cancel = func() error { return c.Process.Signal(os.Interrupt) }
	c.WaitDelay = 10 * time.Second
	return c
}

// Tail keeps the end of what is written to it.
type Tail struct {
	Limit int // bytes
	text  []byte
	cut   bool
}

func (t *Tail) Write(b []byte) (int, error) {
	t.text = append(t.text, b...)
	if over := len(t.text) - t.Limit; over > 0 {
		t.text, t.cut = slices.Clone(t.text[over:]), true
	}
	return len(b), nil
}

func (t *Tail) String() string {
	text := strings.TrimSpace(strings.ToValidUTF8(string(t.text), "?"))
	if t.cut {
		return "… " + text
	}
	return text
}
