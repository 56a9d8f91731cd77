package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"time"

	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/breach"
	"gitlab.com/skerry/skerry/internal/gitlab/jobpayload"
)

// side is one of the two runners.
type side struct {
	name    string
	program string
	dir     string
	engine  *engine // nil: the shell executor
	rounds  int     // how often the pipeline runs in the same directories
}

// pipelineVariables are those that a file cannot set.
func pipelineVariables() []jobpayload.Variable {
	return []jobpayload.Variable{
		{Key: "PIPELINE", Value: "from the pipeline", Public: true},
		{Key: "FILE", Value: "content of\n$GLOBAL file\n", File: true, Public: true},
		{Key: "USES_FILE", Value: "at $FILE", Public: true},
		{Key: "MASKED", Value: "s3cr3t/v+lue=with&odd", Masked: true},
	}
}

// run runs the pipeline with the runner, and returns what there is to see of it.
func (s side) run(ctx context.Context, source string) (o *outcome, err error) {
	if err := os.MkdirAll(filepath.Join(s.dir, "home"), 0o700); err != nil {
		return nil, err
	}
	co, err := gitlabtest.New(gitlabtest.Options{
		Dir:    filepath.Join(s.dir, "coordinator"),
		Listen: s.engine.listen(),
		// Releases of GitLab Runner before 17 do not know these headers.
		Tolerate: []breach.Kind{breach.RequestID, breach.RunnerToken, breach.JobTokenHeader},
	})
	if err != nil {
		return nil, err
	}
	defer co.Close()
	for path, dir := range map[string]string{projectPath: "project", libraryPath: "lib"} {
		dir = filepath.Join(source, dir)
		if _, err := os.Stat(dir); err != nil {
			continue
		}
		if _, err := co.AddProject(ctx, path, dir); err != nil {
			return nil, err
		}
	}
	stop, err := s.start(ctx, co)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	o = &outcome{side: s, url: co.URL()}
	for round := 1; round <= s.rounds; round++ {
		id, err := co.RunPipeline(ctx, gitlabtest.PipelineSpec{Project: projectPath, Variables: pipelineVariables()})
		if err != nil {
			return nil, err
		}
		if _, err := co.WaitPipeline(ctx, id); err != nil {
			return nil, fmt.Errorf("pipeline %d does not end: %w", round, err)
		}
		if err := o.collect(co, round, id); err != nil {
			return nil, err
		}
	}
	for _, b := range co.Breaches() {
		o.breaches = append(o.breaches, b.String())
	}
	sort.Strings(o.breaches)
	return o, o.collectCaches(filepath.Join(s.dir, "cache"))
}

// start starts the runner; stop ends it.
func (s side) start(ctx context.Context, co *gitlabtest.Coordinator) (stop func() error, err error) {
	program, err := filepath.Abs(s.program)
	if err != nil {
		return nil, err
	}
	token := co.AddRunner(gitlabtest.RunnerSpec{Description: "parity"}).Token
	text := fmt.Sprintf(`concurrent = 1
check_interval = 1
[[runners]]
name = "parity"
url = %q
token = %q
%senvironment = ["RUNNER_ENV_VARIABLE=of the runner", "GLOBAL=of the runner"]
[runners.feature_flags]
FF_TIMESTAMPS = false
[runners.custom_build_dir]
enabled = true
%s`, co.URL(), token, s.executor(), s.engine.config(s))
	path := filepath.Join(s.dir, "config.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(s.dir, "runner.log"))
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, program, "run", "--config", path, "--working-directory", s.dir)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(without(os.Environ(), "GITLAB_RUNNER"), "HOME="+filepath.Join(s.dir, "home"), "GIT_CONFIG_NOSYSTEM=1")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 30 * time.Second
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, log.Close())
	}
	return func() error {
		_ = cmd.Process.Signal(syscall.SIGQUIT)
		err := cmd.Wait()
		return errors.Join(err, log.Close())
	}, nil
}

// executor is what the configuration says of the executor in [[runners]].
func (s side) executor() string {
	if s.engine != nil {
		return "executor = \"docker\"\n"
	}
	return fmt.Sprintf("executor = \"shell\"\nshell = \"bash\"\nbuilds_dir = %q\ncache_dir = %q\n", filepath.Join(s.dir, "builds"), filepath.Join(s.dir, "cache"))
}

func without(env []string, key string) []string {
	var out []string
	for _, e := range env {
		if !strings.HasPrefix(e, key+"=") {
			out = append(out, e)
		}
	}
	return out
}
