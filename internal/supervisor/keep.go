package supervisor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"syscall"
	"time"
)

// Program is one that is kept running.
type Program struct {
	Name    string // of the program in logs; its lines begin with "NAME | "
	Command Command
	// Socket is its descriptor 3; nil: it has none. It stays the caller's.
	Socket *os.File
	// Ready returns nil when the program can be used. Its context ends with the program. nil: it can be at once.
	Ready func(context.Context) error
	// Hopeless says why a program that has ended so, unasked, is not to be started again; nil: it always is.
	Hopeless func(syscall.WaitStatus) error
	Backoff  Backoff
	// Group has all that is left of the program's process group ended with it.
	Group bool
}

// Kept is a program that is kept running, until it is told to end.
type Kept struct {
	p      Program
	reaper *Reaper
	log    *slog.Logger
	pipe   *pipe

	ready  chan struct{} // closed when it could be used for the first time
	ended  chan struct{}
	ending chan struct{} // closed when it is not to be started again
	err    error         // valid once ended is closed

	mu      sync.Mutex
	now     *Process // nil: none runs
	last    syscall.WaitStatus
	stopped bool
}

// Keep starts a program and starts it again whenever it ends. The caller ends it, by Last or Stop, and waits for Ended.
func Keep(r *Reaper, out *Log, log *slog.Logger, p Program) (*Kept, error) {
	k := &Kept{
		p: p, reaper: r, log: log.With("program", p.Name),
		ready: make(chan struct{}), ended: make(chan struct{}), ending: make(chan struct{}),
	}
	var err error
	if k.pipe, err = newPipe(p.Name+" | ", out); err != nil {
		return nil, err
	}
	go k.run()
	return k, nil
}

// Run starts a program once and waits for its end, which the end of ctx brings about by KILL. Nothing of it is in the log
// after that.
func Run(ctx context.Context, r *Reaper, out *Log, name string, c Command) (syscall.WaitStatus, error) {
	pipe, err := newPipe(name+" | ", out)
	if err != nil {
		return 0, err
	}
	defer pipe.close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, fmt.Errorf("open its input: %w", err)
	}
	defer null.Close()
	p, err := r.Start(c, null, pipe.out, pipe.out)
	if err != nil {
		return 0, err
	}
	defer context.AfterFunc(ctx, func() { p.Signal(syscall.SIGKILL) })()
	<-p.Done()
	return p.Status(), nil
}

// Ready is closed when the program can be used for the first time.
func (k *Kept) Ready() <-chan struct{} { return k.ready }

// Ended is closed when the program has ended for good and all that it said is in the log.
func (k *Kept) Ended() <-chan struct{} { return k.ended }

// Err is why the program was not started again although nobody has ended it. It is valid once Ended is closed.
func (k *Kept) Err() error { return k.err }

// Status is how the program ended the last time. It is valid once Ended is closed.
func (k *Kept) Status() syscall.WaitStatus { return k.last }

// Signal sends a signal to the program, if it runs.
func (k *Kept) Signal(s syscall.Signal) bool {
	k.mu.Lock()
	p := k.now
	k.mu.Unlock()
	return p != nil && p.Signal(s)
}

// Last has the program not started again once it has ended.
func (k *Kept) Last() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.stopped {
		k.stopped = true
		close(k.ending)
	}
}

// Stop ends the program for good: by TERM, and by KILL when it has not ended in time. It returns when it has.
func (k *Kept) Stop(within time.Duration) {
	k.Last()
	k.Signal(syscall.SIGTERM)
	limit := time.NewTimer(within)
	defer limit.Stop()
	select {
	case <-k.ended:
		return
	case <-limit.C:
	}
	k.log.Warn("It has not ended when asked to and is killed", "within", within)
	k.Signal(syscall.SIGKILL)
	<-k.ended
}

func (k *Kept) run() {
	defer close(k.ended)
	defer k.pipe.close()
	for {
		began := time.Now()
		p, err := k.start()
		if errors.Is(err, errEnding) {
			return
		}
		var what string
		if err != nil {
			what = "could not be started: " + err.Error()
		} else {
			k.await(p)
			what = Ending(p.Status())
		}
		if k.isEnding() {
			return
		}
		if err == nil && k.p.Hopeless != nil {
			if k.err = k.p.Hopeless(p.Status()); k.err != nil {
				return
			}
		}
		if !k.pause(what, time.Since(began)) {
			return
		}
	}
}

// pause waits for the next start, and reports whether there is one.
func (k *Kept) pause(what string, lived time.Duration) bool {
	wait := k.p.Backoff.after(lived)
	k.log.Error("The "+k.p.Name+" "+what+" and is started again", "lived", lived.Round(time.Millisecond), "in", wait)
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-k.ending:
		return false
	}
}

var errEnding = errors.New("it is not to be started again")

// start starts the program, unless it is not to be started again.
func (k *Kept) start() (*Process, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, fmt.Errorf("open its input: %w", err)
	}
	defer null.Close()
	files := []*os.File{null, k.pipe.out, k.pipe.out}
	if k.p.Socket != nil {
		files = append(files, k.p.Socket)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.stopped {
		return nil, errEnding
	}
	p, err := k.reaper.Start(k.p.Command, files...)
	if err != nil {
		return nil, err
	}
	k.now = p
	k.log.Debug("Started", "pid", p.PID())
	return p, nil
}

// await waits for a program's end, and tells when it can be used.
func (k *Kept) await(p *Process) {
	ctx, cancel := context.WithCancel(context.Background())
	var asking sync.WaitGroup
	asking.Go(func() {
		if k.p.Ready != nil {
			if err := k.p.Ready(ctx); err != nil {
				return // it has ended, which is told
			}
		}
		k.usable()
	})
	<-p.Done()
	cancel()
	asking.Wait()
	if k.p.Group {
		p.killGroup()
	}
	k.pipe.settle()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.now, k.last = nil, p.Status()
}

func (k *Kept) usable() {
	select {
	case <-k.ready:
	default:
		close(k.ready)
	}
}

func (k *Kept) isEnding() bool {
	select {
	case <-k.ending:
		return true
	default:
		return false
	}
}
