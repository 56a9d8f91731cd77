package e2e

import (
	"testing"

	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
	"gitlab.com/skerry/skerry/internal/gitlab/jobpayload"
)

// TestVolumesFull has the builds and cache directories on volumes of a MiB: whatever does not fit, the job's status
// and log are true, and the next job finds the same space.
func TestVolumesFull(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, m machine) {
		saved := func(p *jobpayload.Payload) {
			p.Cache = []jobpayload.Cache{{Key: "k", Paths: []string{"noise"}, When: "on_success", Policy: "pull-push"}}
		}
		kept := []jobpayload.Artifact{{Paths: []string{"noise"}, When: "on_success", ArtifactFormat: "zip", ArtifactType: "archive"}}
		const noise = "dd if=/dev/urandom of=noise bs=64k count=10 2>/dev/null"
		for name, c := range map[string]struct {
			spec           gitlabtest.JobSpec
			lines          []string // of the runner's entry
			status, reason string
			says           []string
		}{
			"script": {gitlabtest.JobSpec{Script: []string{"dd if=/dev/zero of=big bs=1M count=3 || echo it is full", "exit 7"}, AfterScript: []string{"echo after $CI_JOB_STATUS"}}, nil,
				gitlabtest.StatusFailed, "script_failure", []string{"No space left on device", "01O it is full", "after failed", "exit code 7"}},
			"sources": {gitlabtest.JobSpec{Script: []string{"echo never"}}, []string{`pre_get_sources_script = "printf '%3000000s' x > /builds/big || true"`},
				gitlabtest.StatusFailed, "runner_system_failure", []string{"o space left on device", "Job failed"}},
			"cache": {gitlabtest.JobSpec{Script: []string{noise, "dd if=/dev/urandom of=/cache/rest bs=64k count=50 2>&1 || true"}, Edit: saved}, nil,
				gitlabtest.StatusSuccess, "", []string{"o space left on device", "Job succeeded"}},
			"artifacts": {gitlabtest.JobSpec{Script: []string{noise, "dd if=/dev/zero of=big bs=1k count=3000 2>&1 || true"}, Artifacts: kept}, nil,
				gitlabtest.StatusSuccess, "", []string{"Job succeeded"}},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				r := m.runnerWith(t, m.project(t, gitlabtest.Options{}), c.lines, `volume_driver_ops = {type = "tmpfs", device = "tmpfs", o = "nr_blocks=256,mode=1777"}`)
				r.start()
				c.spec.Project = "group/project"
				for range 2 {
					j, log := r.wait(r.add(c.spec))
					want(t, j, log, c.status, c.reason)
					contains(t, log, c.says...)

				}
			})
		}
	})
}
