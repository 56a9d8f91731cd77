// Package server is the command skerry-coordinator: it starts a development coordinator alone, runs
// a repository's pipeline on it and shows how its jobs go.
package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/breach"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/store"
)

// Options are the command's flags.
type Options struct {
	Listen            string
	Repo              string
	Path              string
	Ref               string
	File              string
	Dir               string
	Info              string
	RegistrationToken string
	RunnerToken       string
	Tags              []string
	Tolerate          []string
	LongPoll          time.Duration
	TraceInterval     int
	OnePhase          bool
	Once              bool
	Logs              bool
	Debug             bool
}

// errFailed makes Main exit with 1 without another message: it has all been printed.
var errFailed = errors.New("the pipeline did not succeed")

// Main runs the command with these arguments and returns its exit code: 0 when it did what it was
// asked for, with --once when the pipeline succeeded; 1 otherwise.
func Main(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	cmd := New()
	cmd.SetArgs(args)
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	err := cmd.ExecuteContext(ctx)
	if err != nil && !errors.Is(err, errFailed) {
		fmt.Fprintf(stderr, "skerry-coordinator: %v\n", err)
	}
	if err != nil {
		return 1
	}
	return 0
}

// New returns the command.
func New() *cobra.Command {
	var o Options
	cmd := &cobra.Command{
		Use:   "skerry-coordinator",
		Short: "Serve GitLab's runner API for one repository, for development and tests",
		Long: `Serves GitLab's runner API over HTTP, hosts a copy of a git repository and runs its
.gitlab-ci.yml. Any runner that speaks GitLab's API can be registered with it. It is strict: what
breaks the contract between GitLab and its runners is reported, and makes --once fail.`,
		Args: cobra.NoArgs, SilenceUsage: true, SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return run(cmd.Context(), &o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Listen, "listen", "127.0.0.1:0", "address to serve on; port 0 takes a free one")
	f.StringVar(&o.Repo, "repo", "", "git repository to host; without it only the API is served")
	f.StringVar(&o.Path, "path", "", "path of the project, GROUP/NAME (default demo/ and the directory's name)")
	f.StringVar(&o.Ref, "ref", "", "branch or tag to run the pipeline for (default the default branch)")
	f.StringVar(&o.File, "file", "", "the pipeline's file in the repository (default .gitlab-ci.yml)")
	f.StringVar(&o.Dir, "dir", "", "directory for repositories, logs and artifacts (default a temporary one)")
	f.StringVar(&o.Info, "info", "", "file to write URL and tokens to, as JSON, once it serves")
	f.StringVar(&o.RegistrationToken, "registration-token", "", "token that registers runners (default a random one)")
	f.StringVar(&o.RunnerToken, "runner-token", "", "authentication token of the runner that is there from the start (default a random one)")
	f.StringSliceVar(&o.Tags, "tags", nil, "tags of that runner")
	f.StringSliceVar(&o.Tolerate, "tolerate", nil, "breaches not to report, for older runners: request-id, runner-token, …")
	f.DurationVar(&o.LongPoll, "long-poll", 0, "how long a job request is held open; 0 is 50s, negative never")
	f.IntVar(&o.TraceInterval, "trace-interval", 1, "seconds between patches of a log that runners are asked for")
	f.BoolVar(&o.OnePhase, "one-phase", false, "hand jobs out as running to every runner")
	f.BoolVar(&o.Once, "once", false, "exit when the pipeline is over: 0 when it succeeded and nothing was breached")
	f.BoolVar(&o.Logs, "logs", false, "print every job's log when it is over")
	f.BoolVar(&o.Debug, "debug", false, "log what the coordinator does to standard error")
	return cmd
}

func run(ctx context.Context, o *Options, out, errOut io.Writer) error {
	if o.Once && o.Repo == "" {
		return errors.New("--once needs --repo: without a repository there is no pipeline to wait for")
	}
	if o.Dir == "" {
		dir, err := os.MkdirTemp("", "skerry-coordinator-")
		if err != nil {
			return fmt.Errorf("temporary directory: %w", err)
		}
		defer os.RemoveAll(dir)
		o.Dir = dir
	}
	dir, err := filepath.Abs(o.Dir) // git's server is started in another directory
	if err != nil {
		return err
	}
	opts := gitlabtest.Options{
		Listen: o.Listen, Dir: dir, RegistrationToken: o.RegistrationToken, LongPoll: o.LongPoll, TraceInterval: o.TraceInterval,
		OnePhase: o.OnePhase, Traces: store.InFile,
	}
	for _, kind := range o.Tolerate {
		opts.Tolerate = append(opts.Tolerate, breach.Kind(kind))
	}
	if o.Debug {
		opts.Logger = slog.New(slog.NewTextHandler(errOut, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	c, err := gitlabtest.New(opts)
	if err != nil {
		return err
	}
	defer c.Close()
	s := &session{c: c, o: o, out: out, shown: map[int64]string{}}
	if err := s.announce(); err != nil {
		return err
	}
	return s.serve(ctx)
}

// session is one run of the command.
type session struct {
	c     *gitlabtest.Coordinator
	o     *Options
	out   io.Writer
	shown map[int64]string // the state that was printed last, by job
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
	status, err := s.pipeline(ctx)
	if err != nil {
		return err
	}
	if !s.o.Once {
		<-ctx.Done()
	}
	return s.verdict(status)
}

// pipeline runs the pipeline to its end and returns its state; empty when ctx ended first.
func (s *session) pipeline(ctx context.Context) (string, error) {
	path := s.o.Path
	if path == "" {
		abs, err := filepath.Abs(s.o.Repo)
		if err != nil {
			return "", fmt.Errorf("--repo %q: %w", s.o.Repo, err)
		}
		path = "demo/" + strings.TrimSuffix(filepath.Base(abs), ".git")
	}
	if _, err := s.c.AddProject(ctx, path, s.o.Repo); err != nil {
		return "", err
	}
	id, err := s.c.RunPipeline(ctx, gitlabtest.PipelineSpec{Project: path, Ref: s.o.Ref, File: s.o.File})
	if err != nil {
		return "", err
	}
	fmt.Fprintf(s.out, "pipeline %d of %s\n", id, path)
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
