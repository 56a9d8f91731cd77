package supervisor_test

import (
	"bytes"
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
