package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"gitlab.com/skerry/skerry/internal/gitlab"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
	"gitlab.com/skerry/skerry/internal/gitlab/jobpayload"
	"gitlab.com/skerry/skerry/internal/job"
)

const (
	projectPath  = "bench/sources"
	projectFiles = 100
	handTag      = "by-hand" // of the job that lends its token to the floor
)

// sources is what one does by hand: where from, what, how deep, with a token that is good for it.
type sources struct {
	git job.Git
}

// host makes a repository of a hundred files, serves it, and takes a job of it, without a runner, for
// the token and for the payload's own refspecs.
func (in *installation) host(ctx context.Context) error {
	dir := filepath.Join(in.dir, "repository")
	if err := plant(ctx, dir, in.env); err != nil {
		return err
	}
	if _, err := in.co.AddProject(ctx, projectPath, dir); err != nil {
		return err
	}
	token := in.co.AddRunner(gitlabtest.RunnerSpec{Tags: []string{handTag}, TaggedOnly: true}).Token
	if _, err := in.co.AddJob(ctx, gitlabtest.JobSpec{Project: projectPath, Tags: []string{handTag}}); err != nil {
		return err
	}
	client, err := gitlab.New(gitlab.Options{URL: in.co.URL()})
	if err != nil {
		return err
	}
	answer, err := client.RequestJob(ctx, gitlab.JobRequest{
		Token: token, SystemID: "s_000000000000", Info: gitlab.Info{Features: gitlab.Supported(gitlab.ExecutorFeatures{Shared: true})},
	})
	if err != nil {
		return fmt.Errorf("take a job for the floor's token: %w", err)
	}
	j, err := jobpayload.Translate(answer.Payload)
	if err != nil {
		return err
	}
	if _, err := client.Job(j.ID, j.Token).Update(ctx, gitlab.Update{State: string(job.Running)}); err != nil {
		return err
	}
	in.sources = sources{git: j.Git}
	return nil
}

// plant makes the repository: files of 1 to 8 KiB in ten directories, and thirty commits, so that a
// depth of 20 means something.
func plant(ctx context.Context, dir string, env []string) error {
	if err := command(ctx, "", env, "git", "init", "-q", "-b", "main", dir); err != nil {
		return err
	}
	for i := range projectFiles {
		path := filepath.Join(dir, fmt.Sprintf("part%d", i%10), fmt.Sprintf("file%02d.go", i))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, prose(newRandom(uint64(i)), 1024+i*71), 0o600); err != nil {
			return err
		}
	}
	for i := range 30 {
		if err := os.WriteFile(filepath.Join(dir, "changes"), []byte(strconv.Itoa(i)), 0o600); err != nil {
			return err
		}
		for _, args := range [][]string{{"add", "-A"}, {"-c", "user.name=bench", "-c", "user.email=bench@example.com", "commit", "-q", "-m", "Change"}} {
			if err := command(ctx, dir, env, "git", args...); err != nil {
				return err
			}
		}
	}
	return nil
}

// byHand does what the job does, in a new directory, and says how long it took.
func (in *installation) byHand(ctx context.Context, name string) (time.Duration, error) {
	dir := filepath.Join(in.dir, "hand", name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return 0, err
	}
	g := in.sources.git
	fetch := append([]string{"fetch", "--depth", strconv.Itoa(g.Depth), "--prune", "--quiet", "origin"}, g.Refspecs...)
	start := time.Now()
	err := errors.Join(
		command(ctx, dir, in.env, "git", "init", "-q"),
		command(ctx, dir, in.env, "git", "remote", "add", "origin", g.URL),
		command(ctx, dir, in.env, "git", fetch...),
		command(ctx, dir, in.env, "git", "checkout", "-f", "-q", g.SHA),
		command(ctx, dir, in.env, "bash", "--login", "-c", "echo hi"),
	)
	return time.Since(start), err
}

// command runs a program to its end, its output thrown away unless it fails.
func command(ctx context.Context, dir string, env []string, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, env
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %v: %w: %s", name, args, err, out)
	}
	return nil
}
