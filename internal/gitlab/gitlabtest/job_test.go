package gitlabtest_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/gitlab"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/breach"
	"gitlab.com/skerry/skerry/internal/gitlab/jobpayload"
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

// Each case breaks one rule, and must be recorded as exactly that.
func TestBreaches(t *testing.T) {
	t.Parallel()
	const log = "hello\n"
	cases := []struct {
		name string
		want []breach.Kind
		do   func(d *driver, p *jobpayload.Payload)
	}{
		{"gap", []breach.Kind{breach.Gap}, func(d *driver, p *jobpayload.Payload) { d.patch(p, 9, "x", 416) }},
		{"overlap", []breach.Kind{breach.Overlap}, func(d *driver, p *jobpayload.Payload) { d.patch(p, 3, "lo\nx", 416) }},
		{"checksum", []breach.Kind{breach.Checksum}, func(d *driver, p *jobpayload.Payload) { d.put(p, final("success", "hullo\n"), 200) }},
		{"size", []breach.Kind{breach.Size}, func(d *driver, p *jobpayload.Payload) {
			u := final("success", log)
			u.Output.Bytesize = 5
			d.put(p, u, 200)
		}},
		{"no request id", []breach.Kind{breach.RequestID}, func(d *driver, p *jobpayload.Payload) {
			d.drop = []string{gitlab.HeaderRequestID}
			d.patch(p, len(log), "x", 202)
		}},
		{"no job token", []breach.Kind{breach.JobTokenHeader}, func(d *driver, p *jobpayload.Payload) {
			d.drop = []string{gitlab.HeaderJobToken}
			d.patch(p, len(log), "x", 403)
		}},
		{"another job's token", []breach.Kind{breach.JobToken}, func(d *driver, p *jobpayload.Payload) {
			q := *p
			q.Token = "glcbt-nonsense"
			d.put(&q, gitlab.Update{State: "running"}, 403)
		}},
		{"unknown job", []breach.Kind{breach.UnknownJob}, func(d *driver, p *jobpayload.Payload) {
			q := *p
			q.ID = 1
			d.put(&q, gitlab.Update{State: "running"}, 403)
		}},
		{"no runner token", []breach.Kind{breach.RunnerToken}, func(d *driver, _ *jobpayload.Payload) {
			d.drop = []string{gitlab.HeaderRunnerToken}
			d.ask(204)
		}},
		{"range", []breach.Kind{breach.Range}, func(d *driver, p *jobpayload.Payload) {
			d.must("PATCH", "jobs/"+itoa(p.ID)+"/trace", map[string]string{
				gitlab.HeaderJobToken: p.Token, "Content-Type": "text/plain", "Content-Range": "6-7",
			}, []byte("x"), 202)
		}},
		{"too large", []breach.Kind{breach.PatchSize}, func(d *driver, p *jobpayload.Payload) {
			d.patch(p, len(log), strings.Repeat("x", 1<<20+1), 202)
		}},
		{"second final", []breach.Kind{breach.SecondFinal}, func(d *driver, p *jobpayload.Payload) {
			d.put(p, final("success", log), 200)
			d.put(p, final("success", log), 403)
		}},
		{"patch after the end", []breach.Kind{breach.AfterEnd}, func(d *driver, p *jobpayload.Payload) {
			d.put(p, final("success", log), 200)
			d.patch(p, len(log), "x", 403)
		}},
		{"reason", []breach.Kind{breach.Reason}, func(d *driver, p *jobpayload.Payload) {
			d.put(p, failed("job_canceled", 0, log), 200)
		}},
		{"state", []breach.Kind{breach.State}, func(d *driver, p *jobpayload.Payload) {
			d.put(p, gitlab.Update{State: "canceled"}, 400)
		}},
		{"artifact not asked for", []breach.Kind{breach.Artifact}, func(d *driver, p *jobpayload.Payload) {
			d.upload(p, "junit", "raw", []byte("x"), 201)
		}},
		{"broken zip", []breach.Kind{breach.Artifact}, func(d *driver, p *jobpayload.Payload) {
			d.upload(p, "archive", "zip", []byte("x"), 400)
		}},
		{"unknown route", []breach.Kind{breach.UnknownRoute}, func(d *driver, p *jobpayload.Payload) {
			d.must("GET", "jobs/"+itoa(p.ID), nil, nil, 404)
		}},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := gitlabtest.Start(t, gitlabtest.Options{LongPoll: -1})
			d := newDriver(t, c)
			add(t, c, gitlabtest.JobSpec{Artifacts: []jobpayload.Artifact{{ArtifactType: "archive", ArtifactFormat: "zip"}}})
			p := d.ask(http.StatusCreated)
			d.put(p, gitlab.Update{State: "running"}, 200)
			d.patch(p, 0, log, 202)
			if b := c.Breaches(); len(b) > 0 {
				t.Fatalf("breaches before anything was broken: %v", b)
			}
			tc.do(d, p)
			var got []breach.Kind
			for _, b := range c.TakeBreaches() {
				got = append(got, b.Kind)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("breaches (-want +got):\n%s", diff)
			}
		})
	}
}
