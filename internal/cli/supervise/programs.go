package supervise

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"gitlab.com/skerry/skerry/internal/cli/program"
	"gitlab.com/skerry/skerry/internal/supervisor"
)

const (
	askEvery = 50 * time.Millisecond // whether Podman answers
	askTime  = 5 * time.Second       // for one answer
)

// keptCapabilities are what supervise itself needs once all is prepared: becoming the users, taking from programs what they
// do not need, and signalling them.
func keptCapabilities() []int {
	return []int{unix.CAP_KILL, unix.CAP_SETUID, unix.CAP_SETGID, unix.CAP_SETPCAP}
}

// entrance is how this program comes to newBecome.
func entrance() []string { return []string{"supervise", "become"} }

// identity is a user of the container without rights of its own.
func (a account) identity() *supervisor.Identity {
	return &supervisor.Identity{UID: a.uid, GID: a.gid}
}

// environment is what programs of that user find.
func (a account) environment(path string) []string {
	return []string{"HOME=" + a.home, "USER=" + a.name, "LOGNAME=" + a.name, "PATH=" + path}
}

// engine is the Podman that jobs are run with.
func engine(p *program.Program, o options, l layout) supervisor.Program {
	who := l.engine.identity()
	who.Bounding = []int{unix.CAP_SETUID, unix.CAP_SETGID}                                                                   // of newuidmap and newgidmap, which have them as file capabilities
	env := append(l.engine.environment(searchPath(p)), "XDG_RUNTIME_DIR="+l.runtimeDir, "PODMAN_IGNORE_CGROUPSV1_WARNING=1") // at each start, and of no use here
	return supervisor.Program{
		Name: "engine",
		Command: supervisor.Command{
			Path: "podman", Args: []string{"--log-level=" + o.engineLevel, "system", "service", "--time=0"}, // without an address, whose file it would replace
			Env: append(engineEnvironment(os.Environ()), env...), Dir: "/", As: who, Listens: true, Entrance: entrance(),
		},
		Socket:  l.socket,
		Ready:   func(ctx context.Context) error { return awaitAnswer(ctx, o.socket) },
		Backoff: supervisor.Backoff{First: 250 * time.Millisecond, Most: 10 * time.Second, Settled: time.Minute},
		Group:   true,
	}
}

// engineEnvironment is what of the container's environment is Podman's business. The rest may be tokens.
func engineEnvironment(all []string) (out []string) {
	for _, v := range all {
		key, _, _ := strings.Cut(v, "=")
		switch key = strings.ToLower(key); {
		case key == "lang", key == "tz", key == "tmpdir", key == "container", strings.HasSuffix(key, "_proxy"):
		case strings.HasPrefix(key, "lc_"), strings.HasPrefix(key, "ssl_cert_"):
		case strings.HasPrefix(key, "storage_"), strings.HasPrefix(key, "buildah_"):
		case strings.HasPrefix(strings.TrimPrefix(key, "_"), "containers_"):
		default:
			continue
		}
		out = append(out, v)
	}
	return out
}

// asRunner has a command run as the runner's user, without any right beyond those on its files.
func (l layout) asRunner(c supervisor.Command) supervisor.Command {
	c.As = l.runner.identity()
	c.As.NoNewPrivileges = true
	c.Dir, c.Entrance = l.runner.home, entrance()
	return c
}

// runner is `run` as the runner's user, with Podman as the engine of entries that name none.
func runner(p *program.Program, o options, l layout) (supervisor.Program, error) {
	self, err := os.Executable()
	if err != nil {
		return supervisor.Program{}, fmt.Errorf("find this program: %w", err)
	}
	at := "unix://" + o.socket
	env := supervisor.EnvironmentOf(os.Environ(), append(l.runner.environment(searchPath(p)), "CONTAINER_HOST="+at, "DOCKER_HOST="+at), "XDG_RUNTIME_DIR", "NOTIFY_SOCKET")
	return supervisor.Program{
		Name:    "runner",
		Command: l.asRunner(supervisor.Command{Path: self, Args: []string{"run", "--config", l.config, "--state-dir", o.stateDir, "--jobs-end-with-container"}, Env: env}),
		Backoff: supervisor.Backoff{First: 250 * time.Millisecond, Most: 30 * time.Second, Settled: time.Minute},
		Hopeless: func(s syscall.WaitStatus) error {
			if s.ExitStatus() == program.ExitUsage {
				return &program.ExitError{Code: program.ExitUsage, Err: errors.New("the runner does not understand its command line, as it has said")}
			}
			if s.ExitStatus() == program.ExitFailure {
				return usable(l.runner, l.config, o.executors)
			}
			return nil
		},
	}, nil
}

// awaitAnswer asks Podman until it answers or ctx is over.
func awaitAnswer(ctx context.Context, socket string) error {
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for ping(ctx, socket) != nil {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
	return nil
}

// ping asks Podman whether it is there.
func ping(ctx context.Context, socket string) error {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	var d net.Dialer
	t := &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return d.DialContext(ctx, "unix", socket) },
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://podman/_ping", nil)
	if err != nil {
		return err
	}
	res, err := t.RoundTrip(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 1<<10)) // it says OK, and the status counts
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("it answers %s", res.Status)
	}
	return nil
}
