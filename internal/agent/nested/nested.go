// Package nested is what the agent's program does in the container of a job's own engine: it opens the engine's socket to
// every user of the job, runs the engine with it and the health checks of its containers, and reaps what it leaves behind.
package nested

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"sync"
	"syscall"

	"gitlab.com/skerry/skerry/internal/socketfile"
)

// Command is the argument of the agent's program that belongs here. After it come the socket's path and the engine with its
// arguments, which is given the socket as systemd would. Source: sd_listen_fds(3).
const Command = "nested"

// commandEngine is how the program starts itself to become the engine.
const commandEngine = "nested-engine"

// Main runs a command; ok is false when args name none of them. It returns when the engine has ended.
func Main(args []string) (ok bool, err error) {
	switch {
	case len(args) > 2 && args[0] == Command:
		return true, supervise(args[1], args[2:])
	case len(args) > 1 && args[0] == commandEngine:
		return true, become(args[1:])
	case len(args) == 2 && args[0] == CommandAwait:
		return true, await(context.Background(), args[1])
	default:
		return false, nil
	}
}

// become replaces this process by the engine. The socket is for the process that it names, so who starts it cannot name it.
func become(line []string) error {
	program, err := exec.LookPath(line[0])
	if err != nil {
		return fmt.Errorf("find the engine: %w", err)
	}
	env := append(os.Environ(), "LISTEN_FDS=1", "LISTEN_PID="+strconv.Itoa(os.Getpid()))
	if err := syscall.Exec(program, line, env); err != nil {
		return fmt.Errorf("run %s: %w", program, err)
	}
	return nil
}

// supervise runs the engine and waits for it, and for everything that it orphans.
func supervise(socket string, line []string) error {
	l, err := socketfile.Listen(socket, 0o777) // the job's users may be any, and nobody else sees the directory
	if err != nil {
		return fmt.Errorf("open the engine's socket: %w", err)
	}
	file, err := l.File()
	if err != nil {
		return fmt.Errorf("open the engine's socket: %w", err)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return fmt.Errorf("start the engine: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the agent's own executable: %w", err)
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	engine, err := os.StartProcess(self, append([]string{self, commandEngine}, line...), &os.ProcAttr{
		Files: []*os.File{null, os.Stdout, os.Stderr, file}, Env: os.Environ(), // the fourth is the descriptor 3, the first that sd_listen_fds(3) means
	})
	if err != nil {
		return fmt.Errorf("start the engine: %w", err)
	}
	if err := errors.Join(file.Close(), l.Close(), null.Close()); err != nil {
		return fmt.Errorf("hand the engine its socket: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var watching sync.WaitGroup
	watching.Go(func() { newHealth(socket).watch(ctx) })
	defer watching.Wait()
	defer cancel()
	go func() {
		for range signals {
			_ = engine.Signal(syscall.SIGTERM) // an error says that it has ended
		}
	}()
	return reap(engine.Pid, line[0])
}

// reap waits for children until the engine has ended, and says how.
func reap(engine int, name string) error {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return fmt.Errorf("wait for the engine: %w", err)
		case pid != engine:
		case status.Signaled():
			return fmt.Errorf("%s was ended by the signal %s", name, status.Signal())
		case status.ExitStatus() != 0:
			return fmt.Errorf("%s ended with exit code %d", name, status.ExitStatus())
		default:
			return nil
		}
	}
}
