// Package podman starts Podman's API where there is a podman command and nothing has made a socket of it.
//
// The service ends by itself when nobody has used it for a while, and is started again when it is needed:
// no container needs it. It runs in a control group of its own, because that is where the processes that watch over
// containers stay: a runner that is stopped must not take them with it.
package podman

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"gitlab.com/skerry/skerry/internal/executor/scope"
)

const (
	// idle is after how much disuse the service ends.
	idle = 10 * time.Minute
	// startTime is what Podman may take to listen: the first start of a user's storage is slow.
	startTime = 30 * time.Second
	// maxPath is the longest name of a socket (unix(7)).
	maxPath = 107
)

var errNoFault = errors.New("exit status 0")

// Service is Podman's API, started by the runner. It is safe for concurrent use.
type Service struct {
	// Program is the podman command.
	Program string
	// Dir holds the socket and what the service says; only the runner's user may enter it. It is made when missing.
	Dir string
	// Owner names the runner's installation.
	Owner string
	Log   *slog.Logger

	mu sync.Mutex
}

// Address is where the service listens.
func (s *Service) Address() string { return "unix://" + s.socket() }

func (s *Service) socket() string { return filepath.Join(s.Dir, "podman.sock") }

// Ensure starts the service unless it listens, also when an earlier runner has started it.
func (s *Service) Ensure(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listens(ctx) {
		return nil
	}
	if n := len(s.socket()); n > maxPath {
		return fmt.Errorf("podman cannot be started: the path of its socket, %s, has %d bytes, and the kernel allows %d: use a shorter state_dir", s.socket(), n, maxPath)
	}
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return fmt.Errorf("start podman: %w", err)
	}
	_ = os.Remove(s.socket()) // nobody listens
	p, err := s.start(ctx)
	if err != nil {
		return fmt.Errorf("start podman: %w", err)
	}
	return s.await(ctx, p)
}

func (s *Service) listens(ctx context.Context) bool {
	d := net.Dialer{Timeout: time.Second}
	conn, err := d.DialContext(ctx, "unix", s.socket())
	if err != nil {
		return false
	}
	return conn.Close() == nil
}

// start starts the service. It waits in its shell until it is out of the runner's control group, so that
// none of its own processes is left behind there.
func (s *Service) start(ctx context.Context) (ended <-chan error, err error) {
	words, err := os.OpenFile(s.words(), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	defer words.Close()
	cmd := exec.Command("/bin/sh", "-c", `read -r go && exec "$@" </dev/null`, "sh", //nolint:noctx // outlives every context
		s.Program, "system", "service", fmt.Sprintf("--time=%d", int(idle.Seconds())), s.Address())
	cmd.Env = environment(os.Environ())
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = words, words
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	in, gate, err := os.Pipe() // not cmd's own, which Wait would close
	if err != nil {
		return nil, err
	}
	defer gate.Close()
	cmd.Stdin = in
	err = cmd.Start()
	in.Close()
	if err != nil {
		return nil, err
	}
	end := make(chan error, 1)
	go func() { end <- cmd.Wait() }() // reaps it; it may live longer than the runner
	unit := scope.Unit{
		Name:  fmt.Sprintf("skerry-podman-%s-%d.scope", s.Owner, cmd.Process.Pid),
		About: "Podman's API for the CI jobs of runner " + s.Owner,
		Group: "skerry-podman-" + s.Owner,
	}
	if err := unit.Leave(ctx, cmd.Process.Pid); err != nil {
		level := slog.LevelDebug // nobody ends the group with the runner
		if service, inErr := scope.InService(); service || inErr != nil {
			level = slog.LevelWarn
		}
		s.Log.Log(ctx, level, "Podman is in the runner's control group: containers may end with the runner", "error", err)
	}
	if _, err = io.WriteString(gate, "\n"); err != nil && !errors.Is(err, syscall.EPIPE) { // which end tells more of
		return nil, errors.Join(err, cmd.Process.Kill())
	}
	s.Log.Info("Started podman system service: there was no socket of a container engine", "socket", s.socket(), "pid", cmd.Process.Pid)
	return end, nil
}

// environment leaves out what systemd has given to the runner alone.
func environment(all []string) []string {
	var out []string
	for _, v := range all {
		key, _, _ := strings.Cut(v, "=")
		switch key {
		case "NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "INVOCATION_ID":
		default:
			out = append(out, v)
		}
	}
	return out
}

// await waits until the service listens.
func (s *Service) await(ctx context.Context, ended <-chan error) error {
	limit := time.NewTimer(startTime)
	defer limit.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !s.listens(ctx) {
		select {
		case err := <-ended:
			return fmt.Errorf("podman system service ended at once (%w): %s", cmp.Or(err, errNoFault), s.said())
		case <-limit.C:
			return fmt.Errorf("podman system service does not listen on %s after %s: %s", s.socket(), startTime, s.said())
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
	return nil
}

func (s *Service) words() string { return filepath.Join(s.Dir, "podman.log") }

// said is the end of what the service has said.
func (s *Service) said() string {
	b, err := os.ReadFile(s.words())
	if err != nil {
		return err.Error()
	}
	const most = 2 << 10
	return strings.TrimSpace(string(b[max(0, len(b)-most):]))
}
