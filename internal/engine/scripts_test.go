package engine_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
	"gitlab.com/skerry/skerry/internal/gitlab/jobpayload"
	"gitlab.com/skerry/skerry/internal/plan"
)

// variable is a variable of a job.
func variable(key, value string) jobpayload.Variable {
	return jobpayload.Variable{Key: key, Value: value}
}

// The variables that the runner gives to a job, one by one, as the script sees them.
func TestProvidedVariables(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.runner.CAPEM = "the CA" // the coordinator itself is plain HTTP
	keys := []string{
		"CI_BUILDS_DIR", "CI_PROJECT_DIR", "CI_CONCURRENT_ID", "CI_CONCURRENT_PROJECT_ID", "CI_SERVER", "CI_JOB_STATUS", "CI_JOB_TIMEOUT",
		"CI_RUNNER_SHORT_TOKEN", "CI_RUNNER_VERSION", "CI_RUNNER_REVISION", "CI_RUNNER_EXECUTABLE_ARCH", "CI_SHARED_ENVIRONMENT", "CI_DISPOSABLE_ENVIRONMENT",
		"CI_SERVER_TLS_CA_FILE", "RUNNER_TEMP_PROJECT_DIR", "GITLAB_ENV", "FROM_RUNNER", "FF_TIMESTAMPS", "CI_JOB_IMAGE",
	}
	r.runner.Environment = []string{"FROM_RUNNER=value of the runner"}
	var script []string
	for _, k := range keys {
		script = append(script, `printf '%s<%s>\n' `+k+` "${`+k+`-unset}"`)
	}
	script = append(script, `printf 'content<%s>\n' "$(cat "$CI_SERVER_TLS_CA_FILE")"`, `printf 'here<%s>\n' "$PWD"`)
	j, log := r.run(gitlabtest.JobSpec{
		Script: script, AfterScript: []string{`printf 'status<%s>\n' "$CI_JOB_STATUS"`}, Timeout: 10 * time.Minute,
		Image: &jobpayload.Image{Name: "alpine:3.20"},
	})
	project := regexp.MustCompile(`here<(/.*)>`).FindStringSubmatch(log)
	if project == nil {
		t.Fatalf("the script did not run:\n%s", log)
	}
	dir := project[1]
	short := r.runner.Token[len("glrt-"):][:9]
	for k, want := range map[string]string{
		"CI_BUILDS_DIR": r.runner.BuildsDir, "CI_PROJECT_DIR": dir, "CI_CONCURRENT_ID": "0", "CI_CONCURRENT_PROJECT_ID": "0", "CI_SERVER": "yes",
		"CI_JOB_STATUS": "running", "CI_JOB_TIMEOUT": "600", "CI_RUNNER_SHORT_TOKEN": short, "CI_RUNNER_VERSION": "test", "CI_RUNNER_REVISION": "test",
		"CI_RUNNER_EXECUTABLE_ARCH": "linux/amd64", "CI_SHARED_ENVIRONMENT": "true", "CI_DISPOSABLE_ENVIRONMENT": "unset",
		"CI_SERVER_TLS_CA_FILE": dir + ".tmp/CI_SERVER_TLS_CA_FILE", "RUNNER_TEMP_PROJECT_DIR": dir + ".tmp", "GITLAB_ENV": fmt.Sprintf("%s.tmp/gitlab_runner_env_%d", dir, j.ID),
		"FROM_RUNNER": "value of the runner", "FF_TIMESTAMPS": "true", "CI_JOB_IMAGE": "alpine:3.20", "content": "the CA", "status": "success",
	} {
		if !strings.Contains(log, k+"<"+want+">") {
			got := regexp.MustCompile(k + `<(.*)>`).FindString(log)
			t.Errorf("%s is %q, want %q", k, got, want)
		}
	}
	if rel, err := filepath.Rel(r.runner.BuildsDir, dir); err != nil || !filepath.IsLocal(rel) {
		t.Errorf("the project directory %q is not within %q", dir, r.runner.BuildsDir)
	}
	if _, err := os.Stat(dir + ".tmp"); !os.IsNotExist(err) {
		t.Errorf("file variables are left behind: %v", err)
	}
}

// What scripts, hooks and settings do together, through real agents.
func TestScriptSettings(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		runner func(*plan.Runner)
		spec   gitlabtest.JobSpec
		status string
		reason string
		code   int
		log    []string // in this order
		not    []string
	}{
		{
			name: "several steps and GITLAB_ENV", status: gitlabtest.StatusSuccess,
			spec: gitlabtest.JobSpec{Script: []string{`echo "LATER=from the script" >> "$GITLAB_ENV"`}, AfterScript: []string{`echo "after: $LATER"`},
				Variables: []jobpayload.Variable{variable("TAG", "v1")},
				Edit: func(p *jobpayload.Payload) {
					p.Steps = append([]jobpayload.Step{p.Steps[0], {Name: "release", Script: []string{`echo "release $TAG: $$LATER"`}, When: "on_success"}}, p.Steps[1:]...)
				}},
			log: []string{":step_script", ":step_release", "release v1: from the script", ":after_script", "after: from the script"},
		},
		{
			name: "a step that fails is the last", status: gitlabtest.StatusFailed, reason: "script_failure", code: 4,
			spec: gitlabtest.JobSpec{Script: []string{"exit 4"}, Edit: func(p *jobpayload.Payload) {
				p.Steps = append(p.Steps, jobpayload.Step{Name: "release", Script: []string{"echo never"}})
			}},
			log: []string{"ERROR: Job failed: exit status 4"}, not: []string{"never"},
		},
		{
			name: "pre and post build scripts", status: gitlabtest.StatusSuccess,
			runner: func(r *plan.Runner) { r.PreBuild, r.PostBuild = "FROM_PRE=yes\necho pre build", "echo post build" },
			spec:   gitlabtest.JobSpec{Script: []string{"echo pre is $FROM_PRE"}},
			log:    []string{"\npre build", "pre is yes", "post build"},
		},
		{
			name: "secrets in every stage", status: gitlabtest.StatusFailed, reason: "script_failure", code: 2,
			runner: func(r *plan.Runner) { r.PreBuild = "echo pre $SECRET" },
			spec: gitlabtest.JobSpec{Script: []string{"echo script $SECRET", "echo on stderr $SECRET >&2", "echo glpat-abcdefghij0123456789", "echo $CI_JOB_TOKEN", "exit 2"},
				AfterScript: []string{"echo after $SECRET"}, Variables: []jobpayload.Variable{{Key: "SECRET", Value: "topsecretvalue", Masked: true}}},
			log: []string{"pre [MASKED]", "script [MASKED]", "glpat-[MASKED]", "after [MASKED]"}, not: []string{"topsecretvalue"},
		},
		{
			name: "log limit", status: gitlabtest.StatusSuccess,
			runner: func(r *plan.Runner) { r.OutputLimit = 64 << 10 },
			spec:   gitlabtest.JobSpec{Script: []string{"echo first", "seq 100000 200000", "echo last"}},
			log:    []string{"first", "exceeded limit of 65536 bytes", "last", "Job succeeded"},
		},
		{
			name: "debug trace", status: gitlabtest.StatusSuccess,
			spec: gitlabtest.JobSpec{Script: []string{"echo traced"}, Variables: []jobpayload.Variable{variable("CI_DEBUG_TRACE", "true")}},
			log:  []string{"+ echo traced"},
		},
		{
			name: "debug trace disabled", status: gitlabtest.StatusSuccess,
			runner: func(r *plan.Runner) { r.DebugTraceDisabled = true },
			spec:   gitlabtest.JobSpec{Script: []string{"echo traced"}, Variables: []jobpayload.Variable{variable("CI_DEBUG_TRACE", "true")}},
			log:    []string{"WARNING: CI_DEBUG_TRACE: usage is disabled", "traced"}, not: []string{"+ echo traced"},
		},
		{
			name: "settings that cannot be read", status: gitlabtest.StatusSuccess,
			spec: gitlabtest.JobSpec{Script: []string{"true"}, Variables: []jobpayload.Variable{variable("GET_SOURCES_ATTEMPTS", "99"), variable("GIT_CHECKOUT", "so-so")}},
			log:  []string{"WARNING: GIT_CHECKOUT: expected bool", "WARNING: GET_SOURCES_ATTEMPTS", "clamping to: 10"},
		},
		{
			name: "script timeout", status: gitlabtest.StatusFailed, reason: "job_execution_timeout",
			spec: gitlabtest.JobSpec{Script: []string{"echo begun", "sleep 600"}, Variables: []jobpayload.Variable{variable("RUNNER_SCRIPT_TIMEOUT", "1s")}},
			log:  []string{"begun", "ERROR: Job failed: script timeout: execution took longer than 1s"},
		},
		{
			name: "after_script timeout", status: gitlabtest.StatusSuccess,
			spec: gitlabtest.JobSpec{Script: []string{"true"}, AfterScript: []string{"sleep 600"}, Variables: []jobpayload.Variable{variable("RUNNER_AFTER_SCRIPT_TIMEOUT", "1s")}},
			log:  []string{"after_script failed, but job will continue unaffected", "Job succeeded"},
		},
		{
			name: "file variables", status: gitlabtest.StatusSuccess,
			spec: gitlabtest.JobSpec{Script: []string{`echo "content: $(cat $KEYFILE)"`, `stat -c 'mode %a' $KEYFILE`}, Variables: []jobpayload.Variable{{Key: "KEYFILE", Value: "line 1\nline 2", File: true}}},
			log:  []string{"content: line 1", "line 2", "mode 600"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			if c.runner != nil {
				c.runner(&r.runner)
			}
			j, log := r.run(c.spec)
			if j.Status != c.status || j.Reason != c.reason || j.ExitCode != c.code {
				t.Errorf("job ended %s %q %d, want %s %q %d", j.Status, j.Reason, j.ExitCode, c.status, c.reason, c.code)
			}
			plain := withoutTimes(log)
			for _, n := range c.not {
				if strings.Contains(plain, n) {
					t.Errorf("%q is in the log:\n%s", n, plain)
				}
			}
			plain = strings.NewReplacer("00O ", "", "01O ", "", "01E ", "").Replace(plain)
			inOrder(t, plain, c.log)
		})
	}
}

// Hooks run around getting sources, the job's within the runner's.
func TestHooks(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	repo := repository(t)
	if _, err := r.co.AddProject(t.Context(), "group/app", repo); err != nil {
		t.Fatal(err)
	}
	r.runner.PreGetSources, r.runner.PostGetSources = "echo runner before", "echo runner after"
	j, log := r.run(gitlabtest.JobSpec{
		Project: "group/app", Script: []string{"cat file"},
		Hooks: []jobpayload.Hook{{Name: "pre_get_sources_script", Script: []string{"echo job before"}}, {Name: "post_get_sources_script", Script: []string{"echo job after"}}},
	})
	if j.Status != gitlabtest.StatusSuccess {
		t.Errorf("ended %s %s", j.Status, j.Reason)
	}
	inOrder(t, log, []string{":get_sources", "runner before", "job before", "job after", "runner after", ":step_script", "content of file"})
}

// Sources that cannot be had fail the job as GitLab Runner says it, with git's words in the log.
func TestSourcesThatFail(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	if _, err := r.co.AddProject(t.Context(), "group/app", repository(t)); err != nil {
		t.Fatal(err)
	}
	j, log := r.run(gitlabtest.JobSpec{
		Project: "group/app", Script: []string{"echo never run"}, AfterScript: []string{"echo never run either"},
		Edit: func(p *jobpayload.Payload) {
			p.GitInfo.SHA, p.GitInfo.Refspecs = strings.Repeat("0123456789", 4), []string{"+refs/heads/none:refs/remotes/origin/none"}
		},
	})
	if j.Status != gitlabtest.StatusFailed || j.Reason != "script_failure" || j.ExitCode == 0 {
		t.Errorf("ended %s %q %d", j.Status, j.Reason, j.ExitCode)
	}
	if strings.Contains(log, "never run") {
		t.Errorf("a script ran:\n%s", log)
	}
	inOrder(t, log, []string{"fatal: ", "ERROR: Job failed: exit status 128"})
}

// repository makes a repository with one file.
func repository(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("content of file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"init", "-q", "-b", "main"}, {"add", "."}, {"-c", "user.name=test", "-c", "user.email=t@example", "commit", "-q", "-m", "one"}} {
		cmd := exec.CommandContext(t.Context(), "git", args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v: %s", args, err, out)
		}
	}
	return dir
}
