package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/fault"
	"gitlab.com/skerry/skerry/internal/gitlab/jobpayload"
)

// seedVariable names the environment variable with another seed for TestStorm; one that failed is in its log.
const seedVariable = "SKERRY_STORM_SEED"

// stormJob is a job whose end and output are known before it runs.
type stormJob struct {
	spec      gitlabtest.JobSpec
	output    []string // of script and after_script, in order
	exit      int
	artifacts int
}

// newStormJob makes one of many shapes: long or short, silent or loud, with or without what comes after the script.
func newStormJob(r *rand.Rand, n int) stormJob {
	lines, pause := 1+r.IntN(200), []string{"true", "sleep 0.0" + strconv.Itoa(1+r.IntN(9)), "sleep 0.2"}[r.IntN(3)]
	if pause != "true" {
		lines = 1 + r.IntN(20)
	}
	j := stormJob{exit: []int{0, 0, 1, 7, 137}[r.IntN(5)]}
	j.spec.Name, j.spec.Project = fmt.Sprintf("storm %d", n), "group/project"
	// Git has its own idea of how long a coordinator may be away; other tests fetch.
	j.spec.Variables = []jobpayload.Variable{{Key: "GIT_STRATEGY", Value: "none", Public: true}}
	j.spec.Script = []string{
		fmt.Sprintf("for i in $(seq %d); do echo job %d says $i; %s; done", lines, n, pause),
		"mkdir -p made; seq 1000 > made/file",
	}
	for i := range lines {
		j.output = append(j.output, fmt.Sprintf("job %d says %d", n, i+1))
	}
	if r.IntN(3) == 0 {
		j.spec.Script = append(j.spec.Script, "sleep "+strconv.Itoa(1+r.IntN(3)))
	}
	if r.IntN(3) == 0 {
		j.spec.Script = append(j.spec.Script, "sleep 1000 > /dev/null 2>&1 &")
	}
	if j.exit != 0 {
		j.spec.Script = append(j.spec.Script, fmt.Sprintf("exit %d", j.exit))
	}
	if r.IntN(2) == 0 {
		j.spec.AfterScript = []string{fmt.Sprintf("echo job %d after $CI_JOB_STATUS", n), "sleep 0.3"}
		j.output = append(j.output, fmt.Sprintf("job %d after %s", n, map[bool]string{true: "success", false: "failed"}[j.exit == 0]))
	}
	if r.IntN(2) == 0 {
		j.artifacts = 1
		j.spec.Artifacts = []jobpayload.Artifact{{Name: "made", Paths: []string{"made"}, When: "always", ArtifactFormat: "zip", ArtifactType: "archive"}}
	}
	return j
}

// said is what the job's own commands have written, without times.
func said(log string) []string {
	var out []string
	for _, m := range regexp.MustCompile(`(?m)^\S+Z 01O (job \d+ (?:says|after) \S+)$`).FindAllStringSubmatch(log, -1) {
		out = append(out, m[1])
	}
	return out
}

// TestStorm runs jobs of many shapes while their runner is killed, stopped and frozen at random moments, and their
// coordinator goes away, refuses and cuts connections: every job ends once, with its true status, exit code,
// artifact and output, as computed beforehand.
func TestStorm(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, m machine) {
		seed := uint64(20260822)
		if text := os.Getenv(seedVariable); text != "" {
			var err error
			if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
				t.Fatalf("%s: %v", seedVariable, err)
			}
		}
		t.Logf("seed %d", seed)
		random := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // reproducible, no secret
		co := m.project(t, gitlabtest.Options{TraceInterval: 1, Limits: gitlabtest.Limits{Pending: 10 * time.Second}})
		r := m.runner(t, co, "request_concurrency = 4")
		r.editConfig("concurrent = 10", "concurrent = 20")
		jobs := map[int64]stormJob{}
		many, length := 40, 20*time.Second
		if !m.shell() { // an engine takes long for each
			many, length = 12, 10*time.Second
		}
		for n := range many {
			j := newStormJob(random, n)
			jobs[r.add(j.spec)] = j
		}
		storm(t, r, random, length)
		for id, want := range jobs {
			j, log := r.wait(id)
			status := gitlabtest.StatusSuccess
			if want.exit != 0 {
				status = gitlabtest.StatusFailed
			}
			if j.Status != status || j.ExitCode != want.exit || len(j.Artifacts) != want.artifacts {
				t.Errorf("seed %d, job %d ended %s, %q, exit code %d with %d artifacts; want %s, exit code %d, %d artifacts\n%s",
					seed, id, j.Status, j.Reason, j.ExitCode, len(j.Artifacts), status, want.exit, want.artifacts, log)
			}
			if diff := cmp.Diff(want.output, said(log)); diff != "" {
				t.Errorf("seed %d, job %d: its output (-want +got):\n%s", seed, id, diff)
			}
		}
		until(t, "all is forgotten", func() bool { return len(r.environments()) == 0 })
		if strings.Contains(r.log.String(), "panic:") {
			t.Errorf("seed %d: there was a panic", seed)
		}
	}, "podman")
}

// storm disturbs the runner, and leaves it and its coordinator at work.
func storm(t *testing.T, r *runner, random *rand.Rand, length time.Duration) {
	t.Helper()
	up := func() {
		if err := r.co.Up(); err != nil {
			t.Fatal(err)
		}
	}
	some := func(most int) time.Duration { return time.Duration(random.IntN(most)) * time.Millisecond }
	r.start()
	for begun := time.Now(); time.Since(begun) < length; time.Sleep(some(1500)) {
		switch random.IntN(6) {
		case 0:
			r.restart()
		case 1: // a crash loop
			for range 20 {
				r.restart()
				time.Sleep(50 * time.Millisecond)
			}
		case 2:
			r.signal(syscall.SIGTERM)
			r.co.RunnerDied()
			r.start()
		case 3:
			r.co.Down()
			time.Sleep(some(1000))
			if random.IntN(2) == 0 {
				r.restart()
				time.Sleep(some(500))
			}
			up()
		case 4:
			_ = r.cmd.Process.Signal(syscall.SIGSTOP)
			time.Sleep(some(1000))
			_ = r.cmd.Process.Signal(syscall.SIGCONT)
		default:
			r.co.Fault(fault.Fault{
				Endpoint: []string{gitlabtest.EndpointUpdate, gitlabtest.EndpointTrace, gitlabtest.EndpointUpload}[random.IntN(3)],
				Count:    1 + random.IntN(5), Cut: random.IntN(2) == 0, Handle: random.IntN(2) == 0, Status: 503,
			})
		}
	}
}
