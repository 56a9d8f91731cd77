package gitlabtest_test

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/gitlab"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/breach"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/clock"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/fault"
	"gitlab.com/skerry/skerry/internal/gitlab/jobpayload"
)

func zipped(t *testing.T, name, content string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	f, err := w.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gzipped(t *testing.T, content string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func start(t *testing.T, yaml string) (*gitlabtest.Coordinator, *driver, int64) {
	t.Helper()
	c := gitlabtest.Start(t, gitlabtest.Options{LongPoll: -1})
	if _, err := c.AddProject(t.Context(), "group/name", repository(t, map[string]string{".gitlab-ci.yml": yaml, "go.sum": "x"})); err != nil {
		t.Fatal(err)
	}
	id, err := c.RunPipeline(t.Context(), gitlabtest.PipelineSpec{Project: "group/name"})
	if err != nil {
		t.Fatal(err)
	}
	return c, newDriver(t, c), id
}

// run takes the next job and ends it as ends says: by name, "" for success, else the exit code.
func (d *driver) run(ends map[string]int) *jobpayload.Payload {
	d.t.Helper()
	p := d.ask(http.StatusCreated)
	if exit := ends[p.JobInfo.Name]; exit != 0 {
		d.put(p, failed("script_failure", exit, ""), 200)
	} else {
		d.put(p, final("success", ""), 200)
	}
	return p
}

func states(t *testing.T, c *gitlabtest.Coordinator, id int64) string {
	t.Helper()
	p, ok := c.Pipeline(id)
	if !ok {
		t.Fatalf("no pipeline %d", id)
	}
	out := p.Status + ":"
	for _, j := range p.Jobs {
		out += fmt.Sprintf(" %s=%s", j.Name, j.Status)
	}
	return out
}

func TestPipelineOrder(t *testing.T) {
	t.Parallel()
	const stages = "stages: [one, two]\n"
	cases := []struct {
		name, yaml string
		ends       map[string]int
		order      string // of the jobs handed out
		want       string
	}{
		{"stages", stages + "b: {stage: two, script: x}\na: {stage: one, script: x}\n", nil, "a b", "success: b=success a=success"},
		{"failure", stages + "a: {stage: one, script: x}\nb: {stage: two, script: x}\nc: {stage: two, script: x, when: on_failure}\nd: {stage: two, script: x, when: always}\n",
			map[string]int{"a": 1}, "a c d", "failed: a=failed b=skipped c=success d=success"},
		{"allowed failure", stages + "a: {stage: one, script: x, allow_failure: true}\nb: {stage: two, script: x}\n", map[string]int{"a": 1}, "a b", "success: a=failed b=success"},
		{"allowed exit code", stages + "a: {stage: one, script: x, allow_failure: {exit_codes: 3}}\nb: {stage: two, script: x}\n", map[string]int{"a": 3}, "a b", "success: a=failed b=success"},
		{"other exit code", stages + "a: {stage: one, script: x, allow_failure: {exit_codes: 3}}\nb: {stage: two, script: x}\n", map[string]int{"a": 4}, "a", "failed: a=failed b=skipped"},
		{"needs", stages + "a: {stage: one, script: x}\nb: {stage: one, script: x}\nc: {stage: two, script: x, needs: [a]}\n", map[string]int{"b": 1}, "a b c", "failed: a=success b=failed c=success"},
		{"need fails", stages + "a: {stage: one, script: x}\nc: {stage: two, script: x, needs: [a]}\nd: {stage: two, script: x, needs: [c]}\n", map[string]int{"a": 1}, "a", "failed: a=failed c=skipped d=skipped"},
		{"retry", stages + "a: {stage: one, script: x, retry: 2}\nb: {stage: two, script: x}\n", map[string]int{"a": 1}, "a a a", "failed: a=failed b=skipped"},
		{"optional manual", stages + "a: {stage: one, script: x, when: manual}\nb: {stage: two, script: x}\n", nil, "b", "success: a=manual b=success"},
		{"blocking manual", stages + "a: {stage: one, script: x, when: manual, allow_failure: false}\nb: {stage: two, script: x}\n", nil, "", "manual: a=manual b=created"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c, d, id := start(t, tc.yaml)
			var order []string
			for range strings.Fields(tc.order) {
				order = append(order, d.run(tc.ends).JobInfo.Name)
			}
			d.last = ""
			d.ask(http.StatusNoContent)
			if diff := cmp.Diff(tc.order, strings.Join(order, " ")); diff != "" {
				t.Errorf("order (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.want, states(t, c, id)); diff != "" {
				t.Errorf("states (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPlay(t *testing.T) {
	t.Parallel()
	c, d, id := start(t, "a: {script: x, when: manual, allow_failure: false}\nb: {stage: deploy, script: x}\n")
	p, err := c.WaitPipeline(soon(t), id)
	if err != nil || p.Status != "manual" {
		t.Fatalf("pipeline is %+v, %v", p, err)
	}
	if err := c.Play(p.Jobs[0].ID); err != nil {
		t.Fatal(err)
	}
	if v := value(d.run(nil), "CI_JOB_MANUAL"); v != "true" {
		t.Errorf("CI_JOB_MANUAL is %q", v)
	}
	d.run(nil)
	if got := states(t, c, id); got != "success: a=success b=success" {
		t.Errorf("states are %s", got)
	}
}

func TestDelayed(t *testing.T) {
	t.Parallel()
	clock := clock.NewManual(time.Now())
	c := gitlabtest.Start(t, gitlabtest.Options{Clock: clock})
	d := newDriver(t, c)
	dir := repository(t, map[string]string{".gitlab-ci.yml": "a: {script: x, when: delayed, start_in: 10 minutes}\nb: {stage: deploy, script: x}\nc: {script: x, when: delayed, start_in: 1 week}\n"})
	if _, err := c.AddProject(t.Context(), "group/name", dir); err != nil {
		t.Fatal(err)
	}
	id, err := c.RunPipeline(t.Context(), gitlabtest.PipelineSpec{Project: "group/name"})
	if err != nil {
		t.Fatal(err)
	}
	clock.Advance(9 * time.Minute)
	c.Sweep()
	if got := states(t, c, id); got != "running: a=scheduled b=created c=scheduled" {
		t.Errorf("states are %s", got)
	}
	clock.Advance(time.Minute)
	c.Sweep()
	d.run(nil)
	if got := states(t, c, id); got != "running: a=success b=created c=scheduled" {
		t.Errorf("states are %s", got)
	}
	p, _ := c.Pipeline(id)
	if err := c.Play(p.Jobs[2].ID); err != nil {
		t.Fatal(err)
	}
	d.run(nil)
	d.run(nil)
	if got := states(t, c, id); got != "success: a=success b=success c=success" {
		t.Errorf("states are %s", got)
	}
}

// What needs an optional manual job is skipped while nobody starts it, and runs once somebody did.
func TestPlayRevivesWhatWasSkipped(t *testing.T) {
	t.Parallel()
	c, d, id := start(t, "m: {script: x, when: manual}\nb: {stage: deploy, script: x, needs: [m]}\nc: {stage: .post, script: x, needs: [b]}\n")
	p, err := c.WaitPipeline(soon(t), id)
	if err != nil {
		t.Fatal(err)
	}
	if got := states(t, c, id); got != "skipped: m=manual b=skipped c=skipped" {
		t.Errorf("states are %s", got)
	}
	if err := c.Play(p.Jobs[0].ID); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		d.run(nil)
	}
	if got := states(t, c, id); got != "success: m=success b=success c=success" {
		t.Errorf("states are %s", got)
	}
}

func value(p *jobpayload.Payload, key string) string {
	found := ""
	for _, v := range p.Variables {
		if v.Key == key {
			found = v.Value
		}
	}
	return found
}

func TestArtifactsReachDependants(t *testing.T) {
	t.Parallel()
	c, d, _ := start(t, `
stages: [one, two]
a:
  stage: one
  script: x
  artifacts: {paths: [out], reports: {dotenv: a.env}}
b: {stage: two, script: x}
c: {stage: two, script: x, needs: [{job: a, artifacts: false}]}
e: {stage: two, script: x, dependencies: []}
`)
	a := d.ask(http.StatusCreated)
	archive := zipped(t, "out/f", "content")
	d.upload(a, "archive", "zip", archive, 201)
	d.upload(a, "archive", "zip", archive, 201)
	d.upload(a, "archive", "zip", zipped(t, "out/f", "other"), 400)
	d.upload(a, "dotenv", "gzip", gzipped(t, "V=1\nW = two words \n"), 201)
	d.put(a, final("success", ""), 200)
	b, x, e := d.ask(http.StatusCreated), d.ask(http.StatusCreated), d.ask(http.StatusCreated)
	if value(b, "V") != "1" || value(b, "W") != "two words" || value(x, "V") != "" || value(e, "V") != "" {
		t.Errorf("dotenv variables: %q %q %q %q", value(b, "V"), value(b, "W"), value(x, "V"), value(e, "V"))
	}
	if len(b.Dependencies) != 1 || len(x.Dependencies) != 0 || len(e.Dependencies) != 0 {
		t.Fatalf("dependencies: %v %v %v", b.Dependencies, x.Dependencies, e.Dependencies)
	}
	dep := b.Dependencies[0]
	if dep.ID != a.ID || dep.ArtifactsFile == nil || dep.ArtifactsFile.Size != int64(len(archive)) {
		t.Errorf("dependency is %+v", dep)
	}
	path := "jobs/" + itoa(dep.ID) + "/artifacts"
	_, got := d.must("GET", path, map[string]string{gitlab.HeaderJobToken: dep.Token}, nil, 200)
	if !bytes.Equal(got, archive) {
		t.Error("the archive came back changed")
	}
	res, _ := d.must("GET", path+"?direct_download=true", map[string]string{gitlab.HeaderJobToken: dep.Token}, nil, 302)
	if !strings.HasPrefix(res.Header.Get("Location"), c.URL()+"/storage/") {
		t.Errorf("Location is %q", res.Header.Get("Location"))
	}
	c.Fault(fault.Fault{Endpoint: gitlabtest.EndpointDownload, Handle: true, Partial: 20})
	if _, part, err := d.do("GET", path, map[string]string{gitlab.HeaderJobToken: dep.Token}, nil); err == nil || !bytes.Equal(part, archive[:20]) {
		t.Errorf("of a cut answer came %d bytes, %v", len(part), err)
	}
	c.Fault(fault.Fault{Endpoint: gitlabtest.EndpointDownload, Handle: true, Slow: 2000})
	if _, slow := d.must("GET", path, map[string]string{gitlab.HeaderJobToken: dep.Token}, nil, 200); !bytes.Equal(slow, archive) {
		t.Error("the archive came slowly, and changed")
	}
	d.must("GET", path, map[string]string{gitlab.HeaderJobToken: x.Token}, nil, 403)
	if br := c.TakeBreaches(); len(br) != 1 || br[0].Kind != breach.Download {
		t.Errorf("breaches are %v", br)
	}
}

func TestPayloadOfPipelineJob(t *testing.T) {
	t.Parallel()
	_, d, id := start(t, `
a:
  script: [one, two]
  after_script: [after]
  parallel: 2
  image: {name: alpine, pull_policy: always}
  variables: {A: "1"}
  cache: {key: {files: [go.sum], prefix: p}, paths: [c], fallback_keys: [f]}
`)
	p := d.ask(http.StatusCreated)
	g := p.GitInfo
	wantRefspecs := []string{fmt.Sprintf("+refs/pipelines/%d:refs/pipelines/%d", id, id), "+refs/heads/main:refs/remotes/origin/main"}
	if diff := cmp.Diff(wantRefspecs, g.Refspecs); diff != "" || g.Depth != 20 || g.RefType != "branch" || !*g.Protected {
		t.Errorf("git_info is %+v\n%s", g, diff)
	}
	for key, want := range map[string]string{
		"CI": "true", "CI_JOB_NAME": "a 1/2", "CI_NODE_INDEX": "1", "CI_NODE_TOTAL": "2", "CI_COMMIT_SHA": g.SHA, "CI_COMMIT_TITLE": "Add all",
		"CI_COMMIT_DESCRIPTION": "The body.\n", "CI_PROJECT_PATH": "group/name", "CI_JOB_TOKEN": p.Token, "A": "1", "CI_COMMIT_BRANCH": "main",
	} {
		if got := value(p, key); strings.TrimSpace(got) != strings.TrimSpace(want) {
			t.Errorf("%s is %q instead of %q", key, got, want)
		}
	}
	if k := p.Cache[0]; !strings.HasPrefix(k.Key, "p-") || !strings.HasSuffix(k.Key, "-protected") || k.FallbackKeys[0] != "f-protected" {
		t.Errorf("cache is %+v", k)
	}
	if len(p.Steps) != 2 || p.Steps[1].Name != "after_script" || p.Image.Name != "alpine" {
		t.Errorf("steps are %+v", p.Steps)
	}
	d.put(p, final("success", ""), 200)
}

func TestRunnersGetTheirJobsOnly(t *testing.T) {
	t.Parallel()
	c := gitlabtest.Start(t, gitlabtest.Options{LongPoll: -1})
	d := newDriver(t, c)
	runner := func(spec gitlabtest.RunnerSpec) { d.token, d.last = c.AddRunner(spec).Token, "" }
	add(t, c, gitlabtest.JobSpec{Name: "tagged", Tags: []string{"a", "b"}})
	for name, spec := range map[string]gitlabtest.RunnerSpec{"no tags": {}, "one tag": {Tags: []string{"a"}}, "paused": {Tags: []string{"a", "b"}, Paused: true}, "protected": {Tags: []string{"a", "b"}, ProtectedOnly: true}} {
		runner(spec)
		if p := d.ask(http.StatusNoContent); p != nil {
			t.Errorf("%s got the job", name)
		}
	}
	runner(gitlabtest.RunnerSpec{Tags: []string{"b", "c", "a"}, TaggedOnly: true})
	d.ask(http.StatusCreated)
	add(t, c, gitlabtest.JobSpec{Name: "untagged"})
	d.ask(http.StatusNoContent)
}
