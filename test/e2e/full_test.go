package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
)

// smallState puts the runner's state directory on a disk of its own, of size bytes.
func smallState(t *testing.T, r *runner, size int) {
	t.Helper()
	if err := os.Mkdir(r.stateDir(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("skerry-e2e", r.stateDir(), "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, fmt.Sprintf("size=%d,mode=0700", size)); err != nil {
		t.Fatalf("this test fills a disk of its own: it needs the right to mount a tmpfs (root, CAP_SYS_ADMIN): %v", err)
	}
	t.Cleanup(func() { // after the processes that use it, before the directory
		r.finish()
		if err := unix.Unmount(r.stateDir(), unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// fill takes all the space that is left on the disk of dir and returns how to give it back.
func fill(t *testing.T, dir string) (free func()) {
	t.Helper()
	path := filepath.Join(dir, "somebody-elses-file")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 4096)
	for {
		if _, err := f.Write(block); err != nil {
			if !strings.Contains(err.Error(), "no space left") {
				t.Fatal(err)
			}
			return func() {
				if err := os.Remove(path); err != nil {
					t.Error(err)
				}
			}
		}
	}
}

// TestDiskFull fills the disk of the state directory at several points of a job's life. The job ends
// with its true status, or with a system failure that says why; the runner lives on, and when there is
// space again it runs the next job, without having lost its journal.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	// A rootless engine has mounts of its own: what this process mounts is not seen there.
	everywhere(t, func(t *testing.T, m machine) {
		for name, c := range map[string]struct {
			before, during bool // when the disk is filled by others; neither: by the job's own output
			restart        bool
			lines          int  // of output
			certain        bool // that the job's own status is known
		}{
			"before the job":       {before: true, lines: 2000},
			"in the script":        {during: true, lines: 2000, certain: true},
			"and the runner dies":  {during: true, restart: true, lines: 2000},
			"by the job's own log": {lines: 4000000, certain: true},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				r := m.runner(t, m.coordinator(t, gitlabtest.Options{}), "output_limit = 65536")
				smallState(t, r, 24<<20)
				r.start()
				r.awaitLog("Runner is ready")
				g, free := m.gate(t), func() {}
				if c.before {
					free = fill(t, r.stateDir())
				}
				id := r.add(gitlabtest.JobSpec{Script: append(append([]string{"echo said before"}, g.lines()...), fmt.Sprintf("seq %d", c.lines), "exit 7")})
				if c.during {
					g.await(t)
					free = fill(t, r.stateDir())
				}
				if c.restart {
					r.restart()
				}
				g.open(t)
				j, log := r.wait(id)
				if c.certain || j.Reason == "script_failure" {
					want(t, j, log, gitlabtest.StatusFailed, "script_failure")
					if j.ExitCode != 7 {
						t.Errorf("exit code %d, want 7", j.ExitCode)
					}
				} else {
					want(t, j, log, gitlabtest.StatusFailed, "runner_system_failure")
				}
				if !strings.Contains(log, m.says(7)) {
					contains(t, log, "no space left on device")
				}
				free()
				next, nextLog := r.wait(r.add(gitlabtest.JobSpec{Script: []string{"echo there is space again"}}))
				want(t, next, nextLog, gitlabtest.StatusSuccess, "")
				contains(t, nextLog, "01O there is space again")
				until(t, "all jobs are forgotten", func() bool { return len(r.jobs()) == 0 })
				r.restart() // what could not be removed on the full disk is removed now, at the latest
				until(t, "all environments are gone", func() bool { return len(r.environments()) == 0 })
				r.kill()
				intact(t, r)
			})
		}
	}, "docker", "podman")
}

// intact checks that the journal of a runner that has no job is whole.
func intact(t *testing.T, r *runner) {
	t.Helper()
	j := openJournal(t, r)
	if recs, err := j.All(); err != nil || len(recs) > 0 || j.Damaged() != "" {
		t.Errorf("the journal afterwards: %d records, %v, moved aside to %q", len(recs), err, j.Damaged())
	}
	if err := j.Close(); err != nil {
		t.Error(err)
	}
}
