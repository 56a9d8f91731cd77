// Package server is the command skerry-coordinator: it starts a development coordinator alone, runs
// a repository's pipeline on it and shows how its jobs go.
package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/breach"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/fault"
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
	Faults            []string
	Scale             float64
	LongPoll          time.Duration
	TraceInterval     int
	OnePhase          bool
	Once              bool
	Watch             bool
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
	f.StringSliceVar(&o.Tolerate, "tolerate", nil, "breaches not to report, for older runners: "+strings.Join(kinds(), ", "))
	f.StringArrayVar(&o.Faults, "fault", nil, "a failure to inject, repeatable: "+fault.Syntax)
	f.Float64Var(&o.Scale, "scale", 1, "how many times as fast GitLab's clocks and the waits of faults run; 3600 makes an hour a second")
	f.DurationVar(&o.LongPoll, "long-poll", 0, "how long a job request is held open; 0 is 50s, negative never")
	f.IntVar(&o.TraceInterval, "trace-interval", 1, "seconds between patches of a log that runners are asked for")
	f.BoolVar(&o.OnePhase, "one-phase", false, "hand jobs out as running to every runner")
	f.BoolVar(&o.Once, "once", false, "exit when the pipeline is over: 0 when it succeeded and nothing was breached")
	f.BoolVar(&o.Watch, "watch", false, "run the pipeline again whenever the branch gets a new commit")
	f.BoolVar(&o.Logs, "logs", false, "print every job's log when it is over")
	f.BoolVar(&o.Debug, "debug", false, "log what the coordinator does to standard error")
	return cmd
}

func run(ctx context.Context, o *Options, out, errOut io.Writer) error {
	if o.Once && o.Repo == "" {
		return errors.New("--once needs --repo: without a repository there is no pipeline to wait for")
	}
	if o.Once && o.Watch {
		return errors.New("--once and --watch exclude each other: the one ends with the pipeline, the other goes on")
	}
	opts, err := o.coordinator(errOut)
	if err != nil {
		return err
	}
	if o.Dir == "" {
		dir, err := os.MkdirTemp("", "skerry-coordinator-")
		if err != nil {
			return fmt.Errorf("temporary directory: %w", err)
		}
		defer os.RemoveAll(dir)
		o.Dir = dir
	}
	if opts.Dir, err = filepath.Abs(o.Dir); err != nil { // git's server is started in another directory
		return err
	}
	c, err := gitlabtest.New(opts)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := inject(c, o.Faults); err != nil {
		return err
	}
	s := &session{c: c, o: o, out: out, shown: map[int64]string{}}
	if err := s.announce(); err != nil {
		return err
	}
	return s.serve(ctx)
}

// coordinator returns what the flags say of the coordinator, but for its directory.
func (o *Options) coordinator(errOut io.Writer) (gitlabtest.Options, error) {
	opts := gitlabtest.Options{
		Listen: o.Listen, RegistrationToken: o.RegistrationToken, LongPoll: o.LongPoll, TraceInterval: o.TraceInterval,
		OnePhase: o.OnePhase, Traces: store.InFile, Scale: o.Scale,
	}
	if o.Scale <= 0 {
		return opts, fmt.Errorf("--scale %v: should be above 0; 1 is GitLab's own pace", o.Scale)
	}
	for _, kind := range o.Tolerate {
		if !slices.Contains(kinds(), kind) {
			return opts, fmt.Errorf("--tolerate %s: there is no such breach; the breaches are %s", kind, strings.Join(kinds(), ", "))
		}
		opts.Tolerate = append(opts.Tolerate, breach.Kind(kind))
	}
	if o.Debug {
		opts.Logger = slog.New(slog.NewTextHandler(errOut, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return opts, nil
}

func kinds() []string {
	var names []string
	for _, k := range breach.Kinds() {
		names = append(names, string(k))
	}
	return names
}

// inject adds the faults that the flags name.
func inject(c *gitlabtest.Coordinator, faults []string) error {
	for _, text := range faults {
		actions := map[string]func(int64){
			"cancel": c.Cancel, "force-cancel": c.ForceCancel, "kill-token": c.KillToken,
			"drop": func(job int64) { c.Drop(job, "stuck_or_timeout_failure") },
		}
		f, action, err := fault.Parse(text, gitlabtest.Endpoints(), slices.Sorted(maps.Keys(actions)))
		if err != nil {
			return err
		}
		f.Do = actions[action]
		if f.Do != nil && f.Status == 0 && !f.Cut {
			f.Handle = true
		}
		c.Fault(f)
	}
	return nil
}
