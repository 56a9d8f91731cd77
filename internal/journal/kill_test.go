package journal

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
)

// killDirEnv makes this test binary play the process that is killed.
const killDirEnv = "SKERRY_TEST_KILL_DIR"

// TestKilledProcessLosesNothing kills a process that writes as fast as it can, several times, and
// finds every change that had been confirmed.
func TestKilledProcessLosesNothing(t *testing.T) {
	if dir := os.Getenv(killDirEnv); dir != "" {
		writeUntilKilled(t, dir)
		return
	}
	t.Parallel()
	dir := stateDir(t)
	confirmed := map[string]bool{}
	for round := range 3 {
		confirm(t, dir, 50+30*round, confirmed)
		j := open(t, dir)
		if want := int64(2*round + 2); j.Epoch() != want {
			t.Errorf("epoch %d, want %d", j.Epoch(), want)
		}
		if j.Damaged() != "" {
			t.Fatalf("the journal was damaged: %s", j.Damaged())
		}
		for ref := range confirmed {
			if rec, err := j.Get(ref); err != nil || rec.State != Finished {
				t.Errorf("round %d: %s: %v, state %q", round, ref, err, rec.State)
			}
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// confirm runs a writer, kills it after n lines, and adds the refs that it had confirmed.
func confirm(t *testing.T, dir string, n int, confirmed map[string]bool) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilledProcessLosesNothing$")
	cmd.Env = append(os.Environ(), killDirEnv+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		ref, ok := strings.CutPrefix(lines.Text(), "confirmed ")
		if !ok {
			t.Errorf("the writer says %q", lines.Text())
			continue
		}
		confirmed[ref] = true
		if n--; n == 0 {
			if err := cmd.Process.Kill(); err != nil {
				t.Error(err)
			}
		}
	}
	if err := cmd.Wait(); err == nil {
		t.Error("the writer ended by itself")
	}
}

func writeUntilKilled(t *testing.T, dir string) {
	j := open(t, dir)
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for n := range 100000 {
				rec := sample(fmt.Sprintf("%d/%d/%d", j.Epoch(), worker, n))
				rec.Payload = bytes.Repeat([]byte("p"), 5000)
				if err := j.Put(t.Context(), rec); err != nil {
					t.Error(err)
					return
				}
				if err := j.Update(t.Context(), rec.Ref, func(r *Record) error { r.State = Finished; return nil }); err != nil {
					t.Error(err)
					return
				}
				fmt.Println("confirmed", rec.Ref)
			}
		})
	}
	wg.Wait()
}
