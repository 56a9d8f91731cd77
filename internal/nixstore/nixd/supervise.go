package nixd

import (
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// supervisor keeps a program running. It is the only one in this process to wait for children, so nothing else may
// start any while it runs.
type supervisor struct {
	start   func() (pid int, err error)
	started func(pid, restarts int) // told of each start
	refused <-chan error            // says why it must not serve
	log     *slog.Logger
	first   time.Duration // pause before the first restart; doubled until last
	last    time.Duration
	healthy time.Duration        // a run of this length forgets the failures before it
	tries   int                  // failures in a row after which it gives up
	grace   time.Duration        // between TERM and KILL
	signal  func(syscall.Signal) // to all processes of the container but this one
	quiet   func()               // called when the program and all its descendants have ended because they were told to
}

// run returns nil after TERM or INT, once all processes have ended, and an error when the program does not stay up.
func (s *supervisor) run() error {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(signals)
	children := make(chan os.Signal, 1)
	signal.Notify(children, syscall.SIGCHLD)
	defer signal.Stop(children)
	restarts, failures := 0, 0
	for {
		pid, err := s.start()
		if err != nil {
			return err
		}
		begun := time.Now()
		s.started(pid, restarts)
		status, ended, err := s.await(pid, children, signals)
		if !ended {
			s.end(children, err == nil)
			return err
		}
		if failures++; time.Since(begun) >= s.healthy {
			failures = 1
		}
		if failures >= s.tries {
			return fmt.Errorf("nix-daemon has ended %d times in a row, the last time with %s: see its messages above", failures, describe(status))
		}
		pause := min(s.first<<(failures-1), s.last)
		s.log.Warn("nix-daemon has ended and is started again", "status", describe(status), "in", pause)
		if !s.pause(pause, children, signals) {
			s.end(children, true)
			return nil
		}
		restarts++
	}
}

// await reaps until pid has ended, or until it must not go on, with why.
func (s *supervisor) await(pid int, children, signals <-chan os.Signal) (status syscall.WaitStatus, ended bool, why error) {
	for {
		if status, ended, _ = reap(pid); ended {
			return status, true, nil
		}
		select {
		case <-children:
		case why = <-s.refused:
			return 0, false, why
		case <-signals:
			return 0, false, nil
		}
	}
}

// pause reaps for a time and reports whether nothing asked to end meanwhile.
func (s *supervisor) pause(d time.Duration, children, signals <-chan os.Signal) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	for {
		select {
		case <-children:
			reap(0)
		case <-signals:
			return false
		case <-t.C:
			return true
		}
	}
}

// end lets builds and connections end by themselves, for a while. told says that it was asked for.
func (s *supervisor) end(children <-chan os.Signal, told bool) {
	s.signal(syscall.SIGTERM)
	t := time.NewTimer(s.grace)
	defer t.Stop()
	for {
		if _, _, none := reap(0); none {
			if told {
				s.quiet()
			}
			return
		}
		select {
		case <-children:
		case <-t.C:
			s.log.Warn("Processes of the daemon do not end; they are killed")
			s.signal(syscall.SIGKILL)
			return
		}
	}
}

// reap collects all children that have ended; it reports the end of pid, and whether there is no child left.
func reap(pid int) (status syscall.WaitStatus, ended, none bool) {
	for {
		var w syscall.WaitStatus
		p, err := syscall.Wait4(-1, &w, syscall.WNOHANG, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			return status, ended, true
		case p == 0:
			return status, ended, false
		case p == pid:
			status, ended = w, true
		}
	}
}

func describe(w syscall.WaitStatus) string {
	if w.Signaled() {
		return "signal " + w.Signal().String()
	}
	return fmt.Sprintf("exit code %d", w.ExitStatus())
}

// signalOthers sends a signal to every process of this PID namespace but ourselves, if we are its first.
func signalOthers(s syscall.Signal) {
	if os.Getpid() == 1 {
		_ = syscall.Kill(-1, s) // nobody there is fine
	}
}

// alone reports whether this process is the first of its PID namespace, and the last within a while: a command that an engine
// runs in the container is no descendant of ours, and may still have to be noticed to have ended.
func alone(within time.Duration) bool {
	if os.Getpid() != 1 {
		return false
	}
	for end := time.Now().Add(within); ; time.Sleep(10 * time.Millisecond) {
		switch err := syscall.Kill(-1, 0); {
		case err == syscall.ESRCH:
			return true
		case time.Now().After(end):
			return false
		}
	}
}
