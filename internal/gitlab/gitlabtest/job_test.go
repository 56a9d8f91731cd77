package gitlabtest_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/gitlab"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
)

func TestJobFromRequestToEnd(t *testing.T) {
	t.Parallel()
	c := gitlabtest.Start(t, gitlabtest.Options{})
	d := newDriver(t, c)
	id := add(t, c, gitlabtest.JobSpec{Name: "hello", Script: []string{"echo hi"}})
	p := d.ask(http.StatusCreated)
	if p.ID != id || p.JobInfo.Name != "hello" || p.Steps[0].Script[0] != "echo hi" {
		t.Fatalf("payload is %+v", p)
	}
	d.put(p, gitlab.Update{State: "running"}, 200)
	if r := d.patch(p, 0, "hello\n", 202).Header.Get("Range"); r != "0-6" {
		t.Errorf("Range is %q", r)
	}
	d.patch(p, 6, "world\n", 202)
	res := d.put(p, failed("script_failure", 3, "hello\nworld\n"), 200)
	if s := res.Header.Get(gitlab.HeaderJobStatus); s != "failed" {
		t.Errorf("Job-Status is %q", s)
	}
	j, err := c.Wait(soon(t), id)
	if err != nil {
		t.Fatal(err)
	}
	if j.Status != "failed" || j.Reason != "script_failure" || j.ExitCode != 3 || j.TraceSize != 12 {
		t.Errorf("job is %+v", j)
	}
	trace, err := c.Trace(id)
	if err != nil || string(trace) != "hello\nworld\n" {
		t.Errorf("trace is %q, %v", trace, err)
	}
	var kinds []string
	for _, e := range j.Events {
		kinds = append(kinds, string(e.Kind))
	}
	if diff := cmp.Diff("queued handed-out update patch patch finished update", strings.Join(kinds, " ")); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	d.ask(http.StatusNoContent)
}

func TestGitServesRunningJobsOnly(t *testing.T) {
	t.Parallel()
	c := gitlabtest.Start(t, gitlabtest.Options{})
	d := newDriver(t, c)
	dir := repository(t, map[string]string{"a.txt": "content\n"})
	if _, err := c.AddProject(t.Context(), "group/name", dir); err != nil {
		t.Fatal(err)
	}
	id := add(t, c, gitlabtest.JobSpec{Project: "group/name"})
	p := d.ask(http.StatusCreated)
	work := t.TempDir()
	runGit(t, work, "init", "--quiet")
	runGit(t, work, append([]string{"fetch", "--quiet", "--depth=20", p.GitInfo.RepoURL}, p.GitInfo.Refspecs...)...)
	runGit(t, work, "checkout", "--quiet", p.GitInfo.SHA)
	if got := runGit(t, work, "show", "HEAD:a.txt"); got != "content" {
		t.Errorf("a.txt is %q", got)
	}
	d.put(p, final("success", ""), 200)
	res, err := http.Get(p.GitInfo.RepoURL + "/info/refs?service=git-upload-pack")
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusUnauthorized {
		t.Errorf("the repository answers %d to the token of a job that is over (%d)", res.StatusCode, id)
	}
}
