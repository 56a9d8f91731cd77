// Package nested is what the agent's program does in the container of a job's own engine: it opens the engine's socket to
// every user of the job, runs the engine with it and the health checks of its containers, and reaps what it leaves behind.
package nested

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"

	"gitlab.com/skerry/skerry/internal/agent/nested/kept"
	"gitlab.com/skerry/skerry/internal/socketfile"
)

// Command is the argument of the agent's program that belongs here. After it come, where what the engine keeps is bounded, what
// Bounded returns; then the socket's path and the engine with its arguments, which is given the socket as systemd would.
// Source: sd_listen_fds(3).
const Command = "nested"

// commandEngine is how the program starts itself to become the engine.
const commandEngine = "nested-engine"

// Main runs a command; ok is false when args name none of them. It returns when the engine has ended.
func Main(args []string) (ok bool, err error) {
	switch {
	case len(args) > 2 && args[0] == Command:
		o, err := parse(args[1:])
		if err != nil {
			return true, err
		}
		return true, o.supervise()
	case len(args) > 1 && args[0] == commandEngine:
		return true, become(args[1:])
	case len(args) == 2 && args[0] == CommandAwait:
		return true, await(context.Background(), args[1])
	default:
		return kept.Main(args)
	}
}

// options is what Command is given.
type options struct {
	bound  Bound
	store  string // where the engine keeps its images and containers
	socket string
	line   []string // the engine
}

// Bounded are the arguments for an engine that keeps what it has in the directory store.
func Bounded(b Bound, store string) []string {
	if b == (Bound{}) {
		return nil
	}
	return []string{"--disk", b.String(), "--store", store}
}

func parse(args []string) (options, error) {
	var o options
	f := flag.NewFlagSet(Command, flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.StringVar(&o.store, "store", "", "")
	f.Func("disk", "", func(s string) (err error) {
		o.bound, err = ParseBound(s)
		return err
	})
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() < 2 || o.bound != (Bound{}) && o.store == "" {
		return o, errors.New("the command nested lacks arguments")
	}
	o.socket, o.line = f.Arg(0), f.Args()[1:]
	return o, nil
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
func (o *options) supervise() error {
	started := time.Now()
	l, err := socketfile.Listen(o.socket, 0o777) // the job's users may be any, and nobody else sees the directory
	if err != nil {
		return fmt.Errorf("open the engine's socket: %w", err)
	}
	defer func() { _ = l.Close() }()
	places, err := o.places(started)
	if err != nil {
		return err
	}
	reserveThreads()
	engine, err := o.start(l)
	if err != nil {
		return fmt.Errorf("start the engine: %w", err)
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	ctx, cancel := context.WithCancel(context.Background())
	healthy, ended := context.WithCancel(ctx)
	var watching sync.WaitGroup
	watching.Go(func() { newHealth(o.socket).watch(healthy) })
	defer watching.Wait()
	defer cancel()
	over := make(chan string, 1)
	if o.bound != (Bound{}) {
		watching.Go(func() {
			if why := o.disk(places).watch(ctx); why != "" {
				over <- why
				killAll(engine)
			}
		})
	}
	go func() {
		for range signals {
			if engine.Signal(syscall.SIGTERM) != nil { // it has ended
				cancel()
			}
		}
	}()
	err = reap(engine.Pid, o.line[0])
	ended()
	select {
	case why := <-over:
		return o.refuse(ctx, l, places, why)
	default:
		return err
	}
}

// spareThreads are those that the program has from the beginning: it dies when it needs one and the job has as many processes as it may have.
const spareThreads = 8

// reserveThreads has the program have them; who has ended leaves its thread to others.
func reserveThreads() {
	var all sync.WaitGroup
	all.Add(spareThreads)
	for range spareThreads {
		go func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			all.Done()
			all.Wait() // else one would do for all of them
		}()
	}
}

// start starts the engine with the socket.
func (o *options) start(l *net.UnixListener) (*os.Process, error) {
	file, err := l.File()
	if err != nil {
		return nil, err
	}
	defer file.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find the agent's own executable: %w", err)
	}
	return os.StartProcess(self, append([]string{self, commandEngine}, o.line...), &os.ProcAttr{
		Files: []*os.File{null, os.Stdout, os.Stderr, file}, Env: os.Environ(), // the fourth is the descriptor 3, the first that sd_listen_fds(3) means
	})
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
