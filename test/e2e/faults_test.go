package e2e

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/fault"
	"gitlab.com/skerry/skerry/internal/gitlab/jobpayload"
)

// failures are what a server or the way to it can do to any request.
func failures() map[string]fault.Fault {
	return map[string]fault.Fault{
		"500 twice":            {Status: 500, Count: 2},
		"502 once":             {Status: 502, Body: "<html>Bad Gateway</html>"},
		"503 after handling":   {Status: 503, Handle: true},
		"429 with Retry-After": {Status: 429, Header: http.Header{"Retry-After": {"1"}}, Count: 2},
		"cut before handling":  {Cut: true, Count: 2},
		"cut after handling":   {Cut: true, Handle: true},
		"silence, then cut":    {Wait: time.Second, Cut: true},
		"slow":                 {Slow: 5000},
	}
}

// faultCase is one failure at one place. Where the runner tries again in the middle of a stage that
// writes to the log, it says so there, and the log is not that of an undisturbed job.
type faultCase struct {
	fault.Fault
	visible bool
}

func faultCases() map[string]faultCase {
	cases := map[string]faultCase{}
	for endpoint, visible := range map[string]bool{
		gitlabtest.EndpointUpdate: false, gitlabtest.EndpointTrace: false,
		gitlabtest.EndpointUpload: true, gitlabtest.EndpointDownload: true,
	} {
		for name, f := range failures() {
			f.Endpoint = endpoint
			cases[endpoint+": "+name] = faultCase{f, visible}
			if endpoint == gitlabtest.EndpointUpdate { // the above hits the first, which makes the job ours
				f.State = fault.Final
				cases["final update: "+name] = faultCase{f, false}
			}
			if endpoint == gitlabtest.EndpointTrace { // and one in the middle of the log
				f.Skip = 1
				cases["second patch: "+name] = faultCase{f, false}
			}
		}
	}
	for name, f := range map[string]fault.Fault{
		"final update: 202 while the log is stored":  {Endpoint: gitlabtest.EndpointUpdate, State: fault.Final, Status: 202, Count: 2, Header: http.Header{"X-Gitlab-Trace-Update-Interval": {"1"}}},
		"final update: 412, all of the log is lost":  {Endpoint: gitlabtest.EndpointUpdate, State: fault.Final, Status: 412, Lose: true},
		"final update: 412, some of the log is lost": {Endpoint: gitlabtest.EndpointUpdate, State: fault.Final, Status: 412, Lose: true, Truncate: 100},
		"trace: 416, all of the log is lost":         {Endpoint: gitlabtest.EndpointTrace, Skip: 1, Status: 416, Lose: true},
		"trace: 416, some of the log is lost":        {Endpoint: gitlabtest.EndpointTrace, Skip: 1, Status: 416, Lose: true, Truncate: 100},
	} {
		cases[name] = faultCase{f, false}
	}
	return cases
}

// given runs a job whose artifact is given/part.
func (c chaos) given(t *testing.T) int64 {
	t.Helper()
	id := c.add(gitlabtest.JobSpec{
		Name: "first", Script: []string{"mkdir -p given", "echo part > given/part"},
		Artifacts: []jobpayload.Artifact{{Paths: []string{"given"}, ArtifactFormat: "zip", ArtifactType: "archive"}},
	})
	j, log := c.wait(id)
	want(t, j, log, gitlabtest.StatusSuccess, "")
	return id
}

// disturbedJob runs a job that has an earlier job's artifact, is silent until a part of its log has arrived, and
// ends with an artifact and exit code 3. What differs from job to job is normalised in its log.
func disturbedJob(t *testing.T, c chaos, dependency int64, disturb func(*jobpayload.Payload)) (gitlabtest.Job, string) {
	t.Helper()
	g := c.m.gate(t)
	script := append([]string{"cat given/part", "echo $SECRET", "echo an error >&2"}, g.lines()...)
	id := c.add(gitlabtest.JobSpec{
		Script:       append(script, "for i in 1 2 3 4 5; do echo line $i; done", "rm -rf made", "mkdir made", "echo content > made/file", "exit 3"),
		AfterScript:  []string{"echo after $CI_JOB_STATUS"},
		Variables:    []jobpayload.Variable{{Key: "SECRET", Value: "a-secret-of-the-job", Masked: true}},
		Artifacts:    []jobpayload.Artifact{{Name: "made", Paths: []string{"made"}, When: "always", ArtifactFormat: "zip", ArtifactType: "archive"}},
		Dependencies: []int64{dependency}, Edit: disturb,
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	g.await(t)
	if _, err := c.co.WaitFor(ctx, id, func(j gitlabtest.Job) bool {
		return slices.ContainsFunc(j.Events, func(e gitlabtest.Event) bool { return e.Kind == gitlabtest.EventPatch })
	}); err != nil {
		t.Fatal(err)
	}
	g.open(t)
	j, log := c.wait(id)
	return j, normal(strings.ReplaceAll(log, g.name(), "GATE"))
}

// TestFaultsOfTheCoordinator disturbs whole jobs, one failure each: every job ends with its true status,
// its log, its artifact, and without a breach of the contract (Start sees to that).
func TestFaultsOfTheCoordinator(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, m machine) {
		c := newChaos(t, m)
		check := func(t *testing.T, j gitlabtest.Job, log string) {
			t.Helper()
			want(t, j, log, gitlabtest.StatusFailed, "script_failure")
			if j.ExitCode != 3 {
				t.Errorf("exit code %d, want 3", j.ExitCode)
			}
			if len(j.Artifacts) != 1 || j.Artifacts[0].SHA256 == "" {
				t.Errorf("artifacts: %+v, want one", j.Artifacts)
			}
		}
		undisturbed, text := disturbedJob(t, c, c.dependency, nil)
		check(t, undisturbed, text)
		for name, f := range faultCases() {
			if !m.shell() && !strings.Contains(name, "cut after handling") && !strings.Contains(name, "lost") {
				continue // what the failure does is the same work of the runner's, wherever the job runs
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				dependency := c.dependency
				if f.Endpoint == gitlabtest.EndpointDownload { // requests are the earlier job's: no other job may make them
					dependency = c.given(t)
				}
				var hit *fault.Handle
				j, log := disturbedJob(t, c, dependency, func(p *jobpayload.Payload) {
					f.Job = p.ID
					if f.Endpoint == gitlabtest.EndpointDownload {
						f.Job = dependency
					}
					hit = c.co.Fault(f.Fault)
				})
				check(t, j, log)
				if hit.Hits() == 0 {
					t.Error("the failure did not happen")
				}
				if !f.visible {
					if diff := cmp.Diff(text, log); diff != "" {
						t.Errorf("the log differs from an undisturbed job's (-undisturbed +disturbed):\n%s", diff)
					}
					return
				}
				for line := range strings.Lines(text) {
					if !strings.Contains(log, line) && !strings.Contains(line, "transfer of artifacts") {
						t.Errorf("the log lacks %q:\n%s", line, log)
					}
				}
			})
		}
	})
}

// TestFaultsOfJobRequests disturbs asking for jobs and the repository: the job is run, once.
func TestFaultsOfJobRequests(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, m machine) {
		for name, f := range failures() {
			if !m.shell() && f.Wait == 0 && !f.Handle {
				continue // as in TestFaultsOfTheCoordinator
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				// A job that was handed out and never arrived is handed out again after two of GitLab's minutes.
				co := m.project(t, gitlabtest.Options{Limits: gitlabtest.Limits{Pending: 2 * time.Second}})
				asked, git := f, f
				asked.Endpoint, git.Endpoint = gitlabtest.EndpointRequest, gitlabtest.EndpointGit
				hits := []*fault.Handle{co.Fault(asked), co.Fault(git)}
				r := m.runner(t, co)
				id := r.add(gitlabtest.JobSpec{
					Project: "group/project", Script: []string{"cat README", "exit 7"},
					Variables: []jobpayload.Variable{{Key: "GET_SOURCES_ATTEMPTS", Value: "4", Public: true}},
				})
				r.start()
				j, log := r.wait(id)
				want(t, j, log, gitlabtest.StatusFailed, "script_failure")
				if j.ExitCode != 7 {
					t.Errorf("exit code %d, want 7", j.ExitCode)
				}
				contains(t, log, "01O hello")
				for i, hit := range hits {
					if hit.Hits() == 0 {
						t.Errorf("failure %d did not happen", i)
					}
				}
			})
		}
	})
}
