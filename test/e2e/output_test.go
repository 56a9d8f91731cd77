package e2e

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
	"gitlab.com/skerry/skerry/internal/gitlab/jobpayload"
)

// The output of these tests: so many times a file of lines of x.
const (
	chunk  = 1 << 20
	chunks = 200
)

// diskUse samples how many bytes the files below a directory take until it is stopped, and returns the most.
func diskUse(dir string) (stop func() int64) {
	end, peak := make(chan struct{}), make(chan int64)
	go func() {
		var most int64
		for tick := time.NewTicker(10 * time.Millisecond); ; {
			var sum int64
			_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
				if err != nil {
					return nil //nolint:nilerr // it went away meanwhile
				}
				if info, err := d.Info(); err == nil && info.Mode().IsRegular() {
					sum += info.Size()
				}
				return nil
			})
			most = max(most, sum)
			select {
			case <-tick.C:
			case <-end:
				tick.Stop()
				peak <- most
				return
			}
		}
	}()
	return func() int64 {
		close(end)
		return <-peak
	}
}

// TestMuchOutputOnDisk writes far more than may be kept, with a runner and with none: the disk never holds much
// of it, the log has its beginning and its end, and says truly how much is missing between them.
func TestMuchOutputOnDisk(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, m machine) {
		for name, c := range map[string]struct {
			killed bool
			limit  int   // of the log, KiB
			most   int64 // bytes on disk
		}{
			// The spool's head, 64 MiB, as long as nobody reads it, and the log.
			"with a runner":    {limit: 1024, most: 100 << 20},
			"without a runner": {limit: 2 * chunks * chunk / 1024, most: 200 << 20, killed: true},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				r := m.runner(t, m.coordinator(t, gitlabtest.Options{}), fmt.Sprintf("output_limit = %d", c.limit))
				r.start()
				before, after := m.gate(t), m.gate(t)
				script := append([]string{fmt.Sprintf("(yes %s || true) | head -c %d > lines", strings.Repeat("x", 127), chunk)}, before.lines()...)
				script = append(script, fmt.Sprintf("echo BEGIN; for i in $(seq %d); do cat lines; done; echo END", chunks))
				id := r.add(gitlabtest.JobSpec{
					Script:    append(append(script, after.lines()...), "echo the last line"),
					Variables: []jobpayload.Variable{{Key: "FF_TIMESTAMPS", Value: "false", Public: true}},
				})
				before.await(t)
				used := diskUse(r.stateDir())
				if c.killed {
					r.kill()
					r.co.RunnerDied()
				}
				before.open(t)
				after.await(t)
				if c.killed {
					r.start()
				}
				after.open(t)
				j, log := r.wait(id)
				if most := used(); most > c.most {
					t.Errorf("%d MiB were on disk at once, want at most %d", most>>20, c.most>>20)
				} else {
					t.Logf("%d MiB of %d were on disk at once", most>>20, chunks*chunk>>20)
				}
				if j.Status != gitlabtest.StatusSuccess {
					t.Fatalf("the job ended %s, %q", j.Status, j.Reason)
				}
				for _, text := range []string{"\nBEGIN\n", "\nEND\n", "\nthe last line\n", "Job succeeded"} {
					if !strings.Contains(log, text) {
						t.Errorf("%q is not in the log", text)
					}
				}
				checkLeftOut(t, log)
			})
		}
	}, "podman")
}

// checkLeftOut adds up what the log has between BEGIN and END and what it says that is missing there.
func checkLeftOut(t *testing.T, log string) {
	t.Helper()
	_, body, _ := strings.Cut(log, "\nBEGIN\n")
	body, _, _ = strings.Cut(body, "\nEND\n")
	kept, missing, marks := int64(len(body)+1), int64(0), int64(0)
	says := regexp.MustCompile(` (\d+) bytes (?:of output )?were left out here`)
	for line := range strings.Lines(body) {
		if !strings.Contains(line, "left out here") { // the expression would take minutes for so many
			continue
		}
		notice := says.FindStringSubmatch(line)
		if notice == nil {
			continue
		}
		n, err := strconv.ParseInt(notice[1], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		kept, missing, marks = kept-int64(len(line)), missing+n, marks+1
	}
	if marks == 0 {
		t.Error("the log does not say that anything is missing")
	}
	// A mark in the middle of a line ends it: that one byte is the log's own.
	if total := kept + missing; total < chunks*chunk || total > chunks*chunk+marks {
		t.Errorf("%d bytes are in the log and %d are said to be missing, together %d; %d were written", kept, missing, total, chunks*chunk)
	}
}
