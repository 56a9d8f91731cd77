package nixd

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/executor/container/enginetest"
)

// The supervisor waits for all children of its process, so each test has one of its own.
const asSupervisor = "SKERRY_TEST_SUPERVISOR"

// deaf begins scripts that do not end when they are told to.
const deaf = "trap '' TERM; "

// quiet is what the supervisor says when all has ended as it was told to.
const quiet = "quiet\n"

func TestMain(m *testing.M) {
	if script := os.Getenv(asSupervisor); script != "" {
		os.Exit(supervise(script))
	}
	enginetest.Parallel(2)
	os.Exit(m.Run())
}

func supervise(script string) int {
	children := map[int]bool{}
	grace := time.Minute // a slow machine must not be taken for a deaf script
	if strings.HasPrefix(script, deaf) {
		grace = 200 * time.Millisecond
	}
	s := supervisor{
		start: func() (int, error) {
			pid, err := syscall.ForkExec("/bin/sh", []string{"sh", "-c", script}, &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, 1, 2}})
			children[pid] = true
			return pid, err
		},
		started: func(int, int) {},
		log:     slog.New(slog.NewTextHandler(io.Discard, nil)), first: time.Millisecond, last: 4 * time.Millisecond, healthy: time.Minute, tries: 4,
		grace: grace,
		signal: func(s syscall.Signal) {
			for pid := range children {
				_ = syscall.Kill(pid, s)
			}
		},
		quiet: func() { _, _ = os.Stdout.WriteString(quiet) },
	}
	if err := s.run(); err != nil {
		_, _ = os.Stdout.WriteString(err.Error())
		return 1
	}
	return 0
}

func TestSupervisor(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		script string
		term   bool
		code   int
		output string
	}{
		"gives up":                {"echo run; exit 3", false, 1, "run\nrun\nrun\nrun\nnix-daemon has ended 4 times in a row, the last time with exit code 3"},
		"ends with TERM":          {"trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.01; done", true, 0, "up\nbye\n" + quiet},
		"kills the deaf":          {deaf + "echo up; while :; do sleep 0.01; done", true, 0, "up\n"},
		"reaps what others leave": {"sleep 0 & sleep 0 & exit 1", false, 1, "ended 4 times"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := exec.CommandContext(t.Context(), os.Args[0])
			c.Env = append(os.Environ(), asSupervisor+"="+test.script)
			out, err := c.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			var text strings.Builder
			b := make([]byte, 256)
			for sent := false; ; {
				n, err := out.Read(b)
				text.Write(b[:n])
				if test.term && !sent && strings.Contains(text.String(), "up\n") {
					sent = true
					if err := c.Process.Signal(syscall.SIGTERM); err != nil {
						t.Fatal(err)
					}
				}
				if err != nil {
					break
				}
			}
			var exit *exec.ExitError
			if err := c.Wait(); err != nil && !errors.As(err, &exit) {
				t.Fatal(err)
			}
			if got := c.ProcessState.ExitCode(); got != test.code || !strings.Contains(text.String(), test.output) {
				t.Errorf("code %d, output %q; want %d, %q", got, text.String(), test.code, test.output)
			}
			if strings.Contains(text.String(), quiet) != strings.Contains(test.output, quiet) {
				t.Errorf("output %q: it is quiet only when all has ended as it was told to", text.String())
			}
		})
	}
}
