package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
	"gitlab.com/skerry/skerry/internal/gitlab/jobpayload"
	"gitlab.com/skerry/skerry/internal/trace"
)

// repository makes a git repository with one commit.
func repository(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "README"), []byte("hello\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"init", "-q", "-b", "main"}, {"add", "-A"},
		{"-c", "user.name=e2e", "-c", "user.email=e2e@example.com", "commit", "-q", "-m", "First"},
	} {
		cmd := exec.Command("git", append([]string{"-C", dir}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v: %s", args, err, out)
		}
	}
	return dir
}

// wholeJob goes through every stage: sources, cache, an earlier job's artifacts, script, after_script,
// cache, artifacts.
func wholeJob(dependency int64) gitlabtest.JobSpec {
	return gitlabtest.JobSpec{
		Name: "whole", Project: "group/project",
		Script: []string{
			"cat README given/part", "echo $SECRET", "mkdir -p made cached",
			"for i in 1 2 3 4 5 6 7 8 9 10; do echo line $i; echo error $i >&2; sleep 0.02; done",
			"echo content > made/file", "echo cached > cached/file", "exit 3",
		},
		AfterScript:  []string{"echo after $CI_JOB_STATUS", "sleep 0.05"},
		Variables:    []jobpayload.Variable{{Key: "SECRET", Value: "a-secret-of-the-job", Masked: true}},
		Cache:        []jobpayload.Cache{{Key: "key", Paths: []string{"cached"}, When: "always"}},
		Artifacts:    []jobpayload.Artifact{{Name: "made", Paths: []string{"made"}, When: "always", ArtifactFormat: "zip", ArtifactType: "archive"}},
		Dependencies: []int64{dependency},
	}
}

// chaos is one installation with a project and a job whose artifacts wholeJob wants.
type chaos struct {
	*runner
	dependency int64
}

func newChaos(t *testing.T, m machine) chaos {
	t.Helper()
	r := m.runner(t, m.project(t, gitlabtest.Options{TraceInterval: 1}))
	r.start()
	first := r.add(gitlabtest.JobSpec{
		Name: "first", Project: "group/project", Script: []string{"mkdir given", "echo part > given/part"},
		Artifacts: []jobpayload.Artifact{{Paths: []string{"given"}, ArtifactFormat: "zip", ArtifactType: "archive"}},
	})
	if j, log := r.wait(first); j.Status != gitlabtest.StatusSuccess {
		t.Fatalf("the job before: %s\n%s", j.Status, log)
	}
	until(t, "the first job is forgotten", func() bool { return len(r.environments()) == 0 && len(r.jobs()) == 0 })
	return chaos{runner: r, dependency: first}
}

// jobs lists the directories of jobs that are not forgotten yet.
func (r *runner) jobs() []string {
	dirs, err := filepath.Glob(filepath.Join(r.stateDir(), "jobs", "*"))
	if err != nil {
		r.t.Fatal(err)
	}
	return dirs
}

// outlineHas reports whether the outline of the job under way has an entry with key.
func (r *runner) outlineHas(key string) bool {
	for _, dir := range r.jobs() {
		b, err := os.ReadFile(filepath.Join(dir, "outline"))
		if err == nil && strings.Contains(string(b), fmt.Sprintf("%q", key)) {
			return true
		}
	}
	return false
}

// check compares a job's end and log with what they must be: the given end, and the log that its own
// outline and spools make. It reports false when a spool was missed, so that there is nothing to compare with.
func (c chaos) check(t *testing.T, k *keeper, j gitlabtest.Job, log string) bool {
	t.Helper()
	if j.Status != gitlabtest.StatusFailed || j.Reason != "script_failure" || j.ExitCode != 3 {
		t.Errorf("the job ended %s, %q, exit code %d; want failed, script_failure, 3\n%s", j.Status, j.Reason, j.ExitCode, log)
	}
	if len(j.Artifacts) != 1 {
		t.Errorf("artifacts: %+v, want one", j.Artifacts)
	}
	k.end()
	want, err := trace.Offline(k.outline(t), k.spool, trace.Options{
		Secrets: []string{"a-secret-of-the-job", j.Token, c.token}, Timestamps: true, Sections: true,
	})
	if errors.Is(err, errMissed) {
		t.Logf("%v; the run is made again", err)
		return false
	}
	if err != nil {
		t.Fatalf("compute the log offline: %v", err)
	}
	if diff := cmp.Diff(string(want), log); diff != "" {
		t.Errorf("the log is not what its outline and spools make (-want +got):\n%s", diff)
	}
	return true
}

// missable is how many runs may be made to get one whose spools were all kept.
const missable = 10

// disturbed runs wholeJob with the runner killed at the step key ("" for not at all) until there is a run
// whose spools were all kept, and returns its log and the keys of its outline.
func disturbed(t *testing.T, m machine, key string) (log string, keys []string) {
	t.Helper()
	for range missable {
		c := newChaos(t, m)
		kept := keep(t, c.runner)
		id := c.add(wholeJob(c.dependency))
		if key != "" {
			atOnce(t, "the step "+key, func() bool { return c.outlineHas(key) || over(c, id) })
			c.restart()
		}
		j, log := c.wait(id)
		// An environment is gone a moment before its job's place in the clones is free: then it was given another.
		elsewhere := strings.Contains(log, "Created fresh repository")
		if c.check(t, kept, j, log) && !elsewhere {
			c.kill()
			return log, outlineKeys(t, kept.outline(t))
		}
		c.kill()
	}
	t.Fatalf("of %d runs none had all its spools kept and the clone of the job before it", missable)
	return "", nil
}

// normal replaces what differs from run to run: times, ids, temporary names.
func normal(log string) string {
	for _, r := range []struct{ pattern, with string }{
		{`(?m)^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z`, "TIME"},
		{`section_(start|end):\d+:`, "section_$1:N:"},
		{`/[^ ]*/e2e/[^ ]*/builds/`, "BUILDS/"},
		{`/tmp/[^ ]*/builds/`, "BUILDS/"},
		{`id=\d+`, "id=N"}, {`\(\d+\)\.\.\.`, "(N)..."},
		{`on e2e [^ ]+, system ID: \S+`, "on e2e"},
		{`token=\S+`, "token"},
		{`(?m)^(TIME \d\d[OE]).*(Initialized empty|Reinitialized existing).*$`, "$1 repository"},
		{`(Checking out )[0-9a-f]+`, "${1}SHA"},
		{`Running on [0-9a-f]{12}\.\.\.`, "Running on CONTAINER..."},
		{`(?m)^TIME 00O The registry of image \S+ does not answer: the image that is present is used\n`, ""}, // in time
	} {
		log = regexp.MustCompile(r.pattern).ReplaceAllString(log, r.with)
	}
	log = regexp.MustCompile(`Job account: .*`).ReplaceAllStringFunc(log, func(account string) string {
		return regexp.MustCompile(`\d[\d.]*(m?s|m[\d.]+s| [KMGT]?i?B)\b`).ReplaceAllString(account, "N")
	})
	// Two streams come through two pipes: which of two lines written at nearly the same time is read
	// first differs from run to run. Within a stream nothing may.
	var out, err []string
	for line := range strings.Lines(log) {
		if strings.HasPrefix(line, "TIME 01E") {
			err = append(err, line)
		} else {
			out = append(out, line)
		}
	}
	return strings.Join(out, "") + strings.Join(err, "")
}

// outlineKeys lists the keys of an outline in order.
func outlineKeys(t *testing.T, outline []byte) []string {
	t.Helper()
	entries, _ := trace.ParseOutline(outline)
	var keys []string
	for _, e := range entries {
		if e.Key != "" {
			keys = append(keys, e.Key)
		}
	}
	return keys
}

// stride is how many steps there are from one kill to the next: an engine takes seconds for each.
func (m machine) stride() int {
	switch {
	case m.shell():
		return 1
	case m.engine.Name == "podman":
		return 3
	default:
		return 6
	}
}

// TestKillEverywhere kills the runner at every step that its outline knows and starts it again: the
// job ends as if nothing had happened, with the log of an undisturbed run. What differs between engines is
// few steps' work, so only the shell executor is gone through in full.
func TestKillEverywhere(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, m machine) {
		want, keys := disturbed(t, m, "")
		if len(keys) < 30 {
			t.Fatalf("the undisturbed run has only %d steps: %v", len(keys), keys)
		}
		for i, key := range keys {
			if i%m.stride() != 0 {
				continue
			}
			t.Run(strings.ReplaceAll(key, "/", ":"), func(t *testing.T) {
				t.Parallel()
				got, _ := disturbed(t, m, key)
				if diff := cmp.Diff(normal(want), normal(got)); diff != "" {
					t.Errorf("the log differs from an undisturbed run's (-undisturbed +killed):\n%s", diff)
				}
			})
		}
	})
}

func over(c chaos, id int64) bool {
	j, ok := c.co.Job(id)
	return ok && j.Over()
}
