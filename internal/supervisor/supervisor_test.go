package supervisor_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/supervisor"
)

func TestKeepStartsAgain(t *testing.T) {
	if !alone(t) {
		return
	}
	s := start(t)
	k := s.keep(script("echo life; kill -KILL $$"))
	s.log.await(t, "it | life\n", 3)
	s.log.await(t, "was ended by the signal 9 (killed) and is started again", 2)
	k.Stop(limit)
	ends(t, k)
	if k.Err() != nil {
		t.Error(k.Err())
	}
}

func TestStopEndsByTerm(t *testing.T) {
	if !alone(t) {
		return
	}
	s := start(t)
	k := s.keep(script(`trap 'echo asked; exit 7' TERM; echo up; while :; do /bin/sleep 1000 & wait; done`))
	s.log.await(t, "it | up\n", 1)
	k.Stop(limit)
	if got := k.Status().ExitStatus(); got != 7 || !strings.HasSuffix(s.log.String(), "it | asked\n") {
		t.Errorf("exit code %d, log:\n%s", got, s.log)
	}
}

func TestStopKillsAtLast(t *testing.T) {
	if !alone(t) {
		return
	}
	s := start(t)
	k := s.keep(script(`trap '' TERM; echo up; while :; do /bin/sleep 100; done`))
	s.log.await(t, "it | up\n", 1)
	k.Stop(time.Millisecond)
	if !k.Status().Signaled() || k.Status().Signal() != syscall.SIGKILL {
		t.Error(supervisor.Ending(k.Status()))
	}
}

// TestStopWhilePausing: a program that waits for its next start has none.
func TestStopWhilePausing(t *testing.T) {
	if !alone(t) {
		return
	}
	s := start(t)
	p := script("echo life; exit 3")
	p.Backoff = supervisor.Backoff{First: time.Hour, Most: time.Hour}
	k := s.keep(p)
	s.log.await(t, "is started again", 1)
	k.Stop(limit)
	if n := strings.Count(s.log.String(), "life"); n != 1 || k.Status().ExitStatus() != 3 {
		t.Errorf("%d lives, %s", n, supervisor.Ending(k.Status()))
	}
}

func TestHopeless(t *testing.T) {
	if !alone(t) {
		return
	}
	s := start(t)
	p := script("exit 2")
	p.Hopeless = func(w syscall.WaitStatus) error {
		if w.ExitStatus() == 2 {
			return errors.New("no hope")
		}
		return nil
	}
	k := s.keep(p)
	ends(t, k)
	if err := k.Err(); err == nil || err.Error() != "no hope" {
		t.Error(err)
	}
}

// TestOrphans: what a program has left in a session of its own, as conmon is, outlives it, may go on writing to the log,
// and is reaped when it ends. What has stayed in the program's group is ended with it.
func TestOrphans(t *testing.T) {
	if !alone(t) {
		return
	}
	s := start(t)
	dir := t.TempDir()
	fifo := dir + "/fifo"
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	k := s.keep(script(`[ ! -e ` + dir + `/again ] || { echo again; exec /bin/sleep 1000; }
		: >` + dir + `/again
		setsid /bin/sh -c 'echo orphan $$; read -r x <` + fifo + `; echo "heard $x"' &
		/bin/sh -c 'echo member $$; exec /bin/sleep 1000' &
		while :; do /bin/sleep 1000; done`))
	s.log.await(t, "orphan", 1)
	s.log.await(t, "member", 1)
	orphan, member := s.number("orphan "), s.number("member ")
	k.Signal(syscall.SIGKILL)
	s.log.await(t, "it | again\n", 1)
	gone(t, member)
	if err := syscall.Kill(orphan, 0); err != nil {
		t.Fatalf("the orphan: %v", err)
	}
	if err := os.WriteFile(fifo, []byte("word\n"), 0); err != nil {
		t.Fatal(err)
	}
	s.log.await(t, "it | heard word\n", 1)
	gone(t, orphan)
	k.Stop(limit)
}

// TestOutputIsWhole: nothing is lost of what a program says before it ends, however it ends.
func TestOutputIsWhole(t *testing.T) {
	if !alone(t) {
		return
	}
	s := start(t)
	p := script(`i=0; while [ $i -lt 3000 ]; do echo "line $i of many that fill the pipe more than once"; i=$((i+1)); done; printf 'no end'; kill -KILL $$`)
	p.Hopeless = func(syscall.WaitStatus) error { return errors.New("once is enough") }
	k := s.keep(p)
	ends(t, k)
	var want strings.Builder
	for i := range 3000 {
		fmt.Fprintf(&want, "it | line %d of many that fill the pipe more than once\n", i)
	}
	want.WriteString("it | no end\n")
	if s.log.String() != want.String() {
		t.Errorf("%d bytes instead of %d; the end is %q", len(s.log.String()), want.Len(), s.log.String()[max(0, len(s.log.String())-100):])
	}
}

func TestRun(t *testing.T) {
	if !alone(t) {
		return
	}
	s := start(t)
	out := supervisor.NewLog(s.log)
	w, err := supervisor.Run(t.Context(), s.reaper, out, "once", script("echo one; printf two; exit 3").Command)
	if err != nil || w.ExitStatus() != 3 || s.log.String() != "once | one\nonce | two\n" {
		t.Errorf("%v, %v:\n%s", w, err, s.log)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		w, err = supervisor.Run(ctx, s.reaper, out, "long", script("echo up; exec /bin/sleep 1000").Command)
	})
	s.log.await(t, "long | up\n", 1)
	cancel()
	running.Wait()
	if err != nil || !w.Signaled() {
		t.Errorf("%v, %v", w, err)
	}
}

func TestProgramThatIsNotThere(t *testing.T) {
	if !alone(t) {
		return
	}
	s := start(t)
	p := script("")
	p.Command.Path = "/no/such/program"
	k := s.keep(p)
	s.log.await(t, "it | find the program", 1)
	s.log.await(t, "/no/such/program", 1)
	s.log.await(t, "ended with exit code 127", 1)
	k.Stop(limit)
}

func TestReady(t *testing.T) {
	if !alone(t) {
		return
	}
	s := start(t)
	dir := t.TempDir()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p := script(`[ -e ` + dir + `/again ] && exec /bin/sleep 1000; : >` + dir + `/again; exit 1`)
	asked := 0
	p.Ready = func(ctx context.Context) error {
		if asked++; asked == 1 {
			<-ctx.Done() // it ended before
			return ctx.Err()
		}
		_, err := read.Read(make([]byte, 1))
		return err
	}
	k := s.keep(p)
	s.log.await(t, "ended with exit code 1", 1)
	select {
	case <-k.Ready():
		t.Error("it cannot be used yet")
	default:
	}
	if _, err := write.Write([]byte{1}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-k.Ready():
	case <-time.After(limit):
		t.Error("nobody was told")
	}
	k.Stop(limit)
}
