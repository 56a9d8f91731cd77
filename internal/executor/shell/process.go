package shell

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"gitlab.com/skerry/skerry/internal/agent"
	"gitlab.com/skerry/skerry/internal/boottime"
	"gitlab.com/skerry/skerry/internal/executor/scope"
	"gitlab.com/skerry/skerry/internal/executor/sockdir"
	"gitlab.com/skerry/skerry/internal/procstat"
)

// process is a process by its pid and start time, which together are never used again before the
// machine is restarted.
type process struct {
	pid   int
	start string // field 22 of /proc/PID/stat, clock ticks since the machine's start
	boot  string
}

func (p process) String() string { return fmt.Sprintf("%d %s %s", p.pid, p.start, p.boot) }

// alive reports whether the process runs. One that has ended and waits for its parent does not.
func (p process) alive() bool {
	state, start, err := stat(p.pid)
	return err == nil && start == p.start && state != "Z" && state != "X" && p.boot == boottime.ID()
}

// stat reads state and start time of a process.
func stat(pid int) (state, start string, err error) {
	s, err := procstat.Read(pid)
	return s.State, strconv.FormatUint(s.Start, 10), err
}

// readAgent reads which process the environment's agent is.
func (v *environment) readAgent() (process, bool) {
	b, err := os.ReadFile(v.path(fileAgent))
	if err != nil {
		return process{}, false
	}
	var p process
	if _, err := fmt.Sscanf(string(b), "%d %s %s", &p.pid, &p.start, &p.boot); err != nil || p.pid <= 1 {
		return process{}, false
	}
	return p, true
}

// ensureAgent starts the agent unless it runs. The agent's own lock keeps a second one out when a
// runner died between the start and its record.
func (v *environment) ensureAgent(ctx context.Context) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	p, known := v.readAgent()
	if known && p.alive() {
		if scope.Together(p.pid) {
			v.leave(ctx, p)
		}
		return nil
	}
	if known {
		v.died = v.lastWords()
		if v.restarts >= maxRestarts {
			return v.died
		}
		v.restarts++
		v.e.log.Warn("The agent of a job died and is started again, to save the job's log", "ref", v.ref, "error", v.died)
	}
	return v.startAgent(ctx)
}

func (v *environment) startAgent(ctx context.Context) error {
	who, err := lookup(v.e.o.User)
	if err != nil {
		return err
	}
	stderr, err := os.OpenFile(v.path(fileStderr), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open the agent's standard error: %w", err)
	}
	defer stderr.Close()
	// Not exec.CommandContext: the agent outlives every context of the runner.
	cmd := exec.Command(v.path(dirAgent, exeAgent)) //nolint:noctx // see above
	cmd.Dir = "/"
	cmd.Env = who.env
	cmd.Stderr = stderr
	pidfd := -1
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: who.credential(), PidFD: &pidfd}
	if err := cmd.Start(); err != nil {
		if errors.Is(err, syscall.EACCES) {
			err = fmt.Errorf("%w: is %s on a file system mounted noexec, or closed to the user %q? Set state_dir to another place", err, v.e.o.Dir, v.e.o.User)
		}
		return fmt.Errorf("start the job's agent: %w", err)
	}
	go reap(pidfd, cmd.Wait)
	_, start, err := stat(cmd.Process.Pid)
	if err != nil {
		return nil
	}
	p := process{pid: cmd.Process.Pid, start: start, boot: boottime.ID()}
	if err := os.WriteFile(v.path(fileAgent), []byte(p.String()), 0o600); err != nil {
		_ = cmd.Process.Kill()
		return fmt.Errorf("record the agent's process: %w", err)
	}
	v.leave(ctx, p)
	return nil
}

// leave moves the agent out of the runner's control group, where that can be done.
func (v *environment) leave(ctx context.Context, p process) {
	about := cmp.Or(v.about, "GitLab CI job "+v.ref.ID)
	err := leave(ctx, v.ref, about, p.pid)
	if err == nil {
		return
	}
	if service, _ := scope.InService(); service {
		v.e.log.Warn("The job's agent stays in the control group of the runner's service, and may be ended with it", "ref", v.ref, "error", err)
		return
	}
	v.e.log.Debug("The job's agent stays in the runner's control group", "ref", v.ref, "error", err)
}

// stopGrace is how long an agent may take to end its processes.
const stopGrace = 15 * time.Second

// killWithin is how long the kernel may take to end a process, which may be waiting for a disk that others keep busy.
const killWithin = 30 * time.Second

// stopAgent ends the agent, which ends every process of the job first. Where it has to be killed, because it
// hangs or is frozen, a successor ends them.
func (v *environment) stopAgent(ctx context.Context) error {
	killed, err := v.signalAgent(ctx)
	if err != nil || !killed {
		return err
	}
	v.e.log.Warn("The agent of a job did not end and was killed; its successor ends the job's processes", "ref", v.ref)
	if err := v.startAgent(ctx); err != nil {
		return fmt.Errorf("end what a killed agent left: %w", err)
	}
	v.awaitSuccessor(ctx)
	_, err = v.signalAgent(ctx)
	return err
}

// successorTime is how long an agent may take to end what the one before it left.
const successorTime = 10 * time.Second

// awaitSuccessor returns when the agent answers: it has ended by then what was left.
func (v *environment) awaitSuccessor(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, successorTime)
	defer cancel()
	for ctx.Err() == nil {
		if conn, err := sockdir.Dial(ctx, v.path(dirAgent, "sock"), agent.SockName); err == nil {
			conn.Close()
			return
		}
		if p, ok := v.readAgent(); !ok || !p.alive() {
			return
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// signalAgent ends the agent's process, and says whether that took a KILL.
func (v *environment) signalAgent(ctx context.Context) (killed bool, err error) {
	p, ok := v.readAgent()
	if !ok || !p.alive() {
		return false, nil
	}
	fd, err := unix.PidfdOpen(p.pid, 0)
	if err != nil || !p.alive() {
		return false, nil // it has ended
	}
	defer unix.Close(fd) //nolint:errcheck // a pidfd
	for _, s := range []struct {
		signal unix.Signal
		wait   time.Duration
	}{{unix.SIGTERM, stopGrace}, {unix.SIGKILL, killWithin}} {
		if err := unix.PidfdSendSignal(fd, s.signal, nil, 0); err != nil {
			return false, nil // it has ended
		}
		if ended(ctx, fd, s.wait) {
			return s.signal == unix.SIGKILL, nil
		}
	}
	return false, fmt.Errorf("the job's agent (pid %d) does not end", p.pid)
}

// kill ends a process at once.
func (p process) kill(ctx context.Context) {
	fd, err := unix.PidfdOpen(p.pid, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd) //nolint:errcheck // a pidfd
	if p.alive() && unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) == nil {
		ended(ctx, fd, killWithin)
	}
}

// ended waits until the process behind a pidfd has ended.
func ended(ctx context.Context, fd int, wait time.Duration) bool {
	until := time.Now().Add(wait)
	for ctx.Err() == nil {
		left := time.Until(until)
		if left <= 0 {
			return false
		}
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, int(min(left, time.Second).Milliseconds())+1)
		if err == nil && n > 0 {
			return true
		}
	}
	return false
}
