package server

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/project"
)

// session is one run of the command.
type session struct {
	c     *gitlabtest.Coordinator
	o     *Options
	out   io.Writer
	shown map[int64]string // the state that was printed last, by job

	project   *project.Project
	sha       string // of the last pipeline
	complaint string // the last one
}

// info is what --info writes.
type info struct {
	URL               string `json:"url"`
	RunnerToken       string `json:"runner_token"`
	RegistrationToken string `json:"registration_token"`
}

func (s *session) announce() error {
	r := s.c.AddRunner(gitlabtest.RunnerSpec{Token: s.o.RunnerToken, Description: "development", Tags: s.o.Tags})
	i := info{URL: s.c.URL(), RunnerToken: r.Token, RegistrationToken: s.c.RegistrationToken()}
	fmt.Fprintf(s.out, "url                 %s\nrunner token        %s\nregistration token  %s\n", i.URL, i.RunnerToken, i.RegistrationToken)
	if s.o.Info == "" {
		return nil
	}
	b, err := json.Marshal(i)
	if err != nil {
		return fmt.Errorf("write %q: %w", s.o.Info, err)
	}
	tmp := s.o.Info + ".new"
	if err := os.WriteFile(tmp, append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("write %q: %w", s.o.Info, err)
	}
	if err := os.Rename(tmp, s.o.Info); err != nil {
		return fmt.Errorf("write %q: %w", s.o.Info, err)
	}
	return nil
}

func (s *session) serve(ctx context.Context) error {
	if s.o.Repo == "" {
		<-ctx.Done()
		return s.verdict("")
	}
	path, err := s.host(ctx)
	if err != nil {
		return err
	}
	status, err := s.pipeline(ctx, path)
	switch {
	case err != nil && !s.o.Watch:
		return err
	case s.o.Watch:
		s.complain(err)
		s.watch(ctx, path)
	case !s.o.Once:
		<-ctx.Done()
	}
	return s.verdict(status)
}

// watch runs the pipeline again for every new commit, until ctx ends.
func (s *session) watch(ctx context.Context, path string) {
	const pace = time.Second
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		moved, err := s.moved(ctx, path)
		if err == nil && moved {
			_, err = s.pipeline(ctx, path)
		}
		s.complain(unlessStopped(ctx, err))
	}
}

// moved brings the copy of the repository up to date, and says whether the branch or tag is somewhere else now.
func (s *session) moved(ctx context.Context, path string) (bool, error) {
	if err := s.c.SyncProject(ctx, path); err != nil {
		return false, err
	}
	commit, err := s.project.Resolve(ctx, s.o.Ref)
	return err == nil && commit.SHA != s.sha, err
}

// complain prints an error that does not end the command, once as long as it stays the same.
func (s *session) complain(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != "" && text != s.complaint {
		fmt.Fprintf(s.out, "error: %s\n", text)
	}
	s.complaint = text
}

// host makes the coordinator's copy of the repository and returns its path there.
func (s *session) host(ctx context.Context) (path string, err error) {
	if path = s.o.Path; path == "" {
		abs, err := filepath.Abs(s.o.Repo)
		if err != nil {
			return "", fmt.Errorf("--repo %q: %w", s.o.Repo, err)
		}
		path = "demo/" + projectName(abs)
	}
	if project.Uncommitted(ctx, s.o.Repo) {
		fmt.Fprintf(s.out, "note: %s has uncommitted changes; pipelines run for what is committed\n", s.o.Repo)
	}
	s.project, err = s.c.AddProject(ctx, path, s.o.Repo)
	return path, err
}

// projectName is the directory's name, without the .git of a bare repository or of a checkout's own.
func projectName(dir string) string {
	name := strings.TrimSuffix(filepath.Base(dir), ".git")
	if name == "" {
		return projectName(filepath.Dir(dir))
	}
	return strings.Trim(regexp.MustCompile(`[^A-Za-z0-9_.-]+`).ReplaceAllString(name, "-"), "-.")
}

// pipeline runs the pipeline to its end and returns its state; empty when ctx ended first.
func (s *session) pipeline(ctx context.Context, path string) (string, error) {
	commit, err := s.project.Resolve(ctx, s.o.Ref)
	if err != nil {
		return "", err
	}
	s.sha = commit.SHA
	id, err := s.c.RunPipeline(ctx, gitlabtest.PipelineSpec{Project: path, Ref: s.o.Ref, File: s.o.File})
	if err != nil {
		return "", err
	}
	fmt.Fprintf(s.out, "pipeline %d of %s at %s %.8s\n", id, path, commit.Ref, commit.SHA)
	p, err := s.c.WaitPipelineFor(ctx, id, func(p gitlabtest.Pipeline) bool {
		s.show(p)
		return p.Over()
	})
	if err != nil {
		return "", unlessStopped(ctx, err)
	}
	if s.o.Logs {
		s.logs(p)
	}
	fmt.Fprintf(s.out, "pipeline %d %s\n", id, p.Status)
	return p.Status, nil
}

// unlessStopped returns err, but nothing when the command was told to stop.
func unlessStopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil //nolint:nilerr // being told to stop is how this command ends well
	}
	return err
}

// show prints what has changed.
func (s *session) show(p gitlabtest.Pipeline) {
	for _, j := range p.Jobs {
		if s.shown[j.ID] == j.Status || j.Status == gitlabtest.StatusCreated {
			continue
		}
		s.shown[j.ID] = j.Status
		line := fmt.Sprintf("job %d  %-24s %s", j.ID, j.Name, j.Status)
		if j.Retries > 0 {
			line += fmt.Sprintf(", retry %d", j.Retries)
		}
		if j.Reason != "" {
			line += fmt.Sprintf(" (%s, exit code %d)", j.Reason, j.ExitCode)
		}
		if j.Over() && !j.Started.IsZero() {
			line += fmt.Sprintf(" after %v", j.Finished.Sub(j.HandedOut).Round(time.Millisecond))
		}
		fmt.Fprintln(s.out, line)
	}
}

func (s *session) logs(p gitlabtest.Pipeline) {
	for _, j := range p.Jobs {
		if j.Started.IsZero() {
			continue
		}
		trace, err := s.c.Trace(j.ID)
		if err != nil {
			trace = []byte(err.Error())
		}
		fmt.Fprintf(s.out, "\n──── %s (%s) ────\n%s\n", j.Name, j.Status, trace)
	}
}

// verdict prints the breaches and says whether all went well.
func (s *session) verdict(status string) error {
	breaches := s.c.Breaches()
	for _, b := range breaches {
		fmt.Fprintf(s.out, "breach: %v\n", b)
	}
	if s.o.Once && (status != gitlabtest.StatusSuccess || len(breaches) > 0) {
		return errFailed
	}
	return nil
}
