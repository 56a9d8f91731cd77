package supervisor_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/supervisor"
)

// envAlone names the test that a process is for.
const envAlone = "SKERRY_TEST_ALONE"

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "become" {
		code, err := supervisor.Become(os.Args[2])
		fmt.Fprintln(os.Stderr, err)
		os.Exit(code)
	}
	os.Exit(m.Run())
}

// alone has a test done by a process of its own, whose children are only its own: it reports true there, and otherwise
// returns when that has ended.
func alone(t *testing.T) bool {
	t.Helper()
	t.Parallel()
	if os.Getenv(envAlone) == t.Name() {
		return true
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), envAlone+"="+t.Name())
	out, err := cmd.CombinedOutput()
	switch {
	case err != nil:
		t.Fatalf("%v\n%s", err, out)
	case bytes.Contains(out, []byte("--- SKIP")):
		t.Skip(string(out))
	}
	return false
}

// seen is a log that can be waited for.
type seen struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{}
}

func newSeen() *seen { return &seen{more: make(chan struct{}, 1)} }

func (s *seen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text.Write(b)
	select {
	case s.more <- struct{}{}:
	default:
	}
	return len(b), nil
}

func (s *seen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// limit is how long anything may take on a loaded machine.
const limit = time.Minute

// await waits until words have been logged n times.
func (s *seen) await(t *testing.T, words string, n int) {
	t.Helper()
	late := time.After(limit)
	for strings.Count(s.String(), words) < n {
		select {
		case <-s.more:
		case <-late:
			t.Fatalf("%q was not logged %d times:\n%s", words, n, s)
		}
	}
}

// started is what Keep needs, for shell scripts.
type started struct {
	t      *testing.T
	reaper *supervisor.Reaper
	log    *seen
}

func start(t *testing.T) started {
	t.Helper()
	r, err := supervisor.NewReaper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return started{t: t, reaper: r, log: newSeen()}
}

func script(text string) supervisor.Program {
	return supervisor.Program{
		Name:    "it",
		Command: supervisor.Command{Path: "/bin/sh", Args: []string{"-c", text}, Env: os.Environ(), Entrance: []string{"become"}},
		Backoff: supervisor.Backoff{First: time.Millisecond, Most: time.Millisecond},
		Group:   true,
	}
}

func (s started) keep(p supervisor.Program) *supervisor.Kept {
	s.t.Helper()
	k, err := supervisor.Keep(s.reaper, supervisor.NewLog(s.log), slog.New(slog.NewTextHandler(s.log, nil)), p)
	if err != nil {
		s.t.Fatal(err)
	}
	return k
}

// ends waits for a program's end.
func ends(t *testing.T, k *supervisor.Kept) {
	t.Helper()
	select {
	case <-k.Ended():
	case <-time.After(limit):
		t.Fatal("it has not ended")
	}
}

// gone waits until there is no process of that id, not even one that nobody has waited for.
func gone(t *testing.T, pid int) {
	t.Helper()
	late := time.Now().Add(limit)
	for !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		if time.Now().After(late) {
			t.Fatalf("process %d is still there", pid)
		}
		time.Sleep(time.Millisecond)
	}
}

// number finds the number that comes after words in the log.
func (s started) number(words string) int {
	s.t.Helper()
	_, rest, _ := strings.Cut(s.log.String(), words)
	text, _, _ := strings.Cut(rest, "\n")
	n, err := strconv.Atoi(text)
	if err != nil {
		s.t.Fatalf("no number after %q: %v\n%s", words, err, s.log)
	}
	return n
}

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
