package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"gitlab.com/skerry/skerry/internal/cli/program"
	"gitlab.com/skerry/skerry/internal/control"
	"gitlab.com/skerry/skerry/internal/job"
)

type attachOptions struct {
	running

	job  string
	tail int
}

func newAttach(p *program.Program) *cobra.Command {
	var o attachOptions
	cmd := &cobra.Command{
		Use:   "attach JOB",
		Short: "Follow the log of a job",
		Long: "Follow the log of a job as GitLab gets it, masked, from its beginning to the job's end; a restart of the runner in between " +
			"does not matter. The exit code is the job's: 0 when it succeeded, that of its script when that failed, else 1.",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return &program.UsageError{Command: cmd.CommandPath(), Err: fmt.Errorf("%q is not expected after the job", args[1])}
			}
			return oneJob(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			o.job = args[0]
			return runAttach(cmd.Context(), p, o)
		},
	}
	o.flags(p, cmd)
	cmd.Flags().IntVarP(&o.tail, "tail", "n", -1, "begin with so many of the last lines; -1: with all")
	return cmd
}

// How long a runner that stopped is waited for, and the pause between two looks.
const (
	runnerBack = 2 * time.Minute
	adoptTime  = 10 * time.Second // until it has taken up the jobs of the one before
	lookPause  = 50 * time.Millisecond
)

func runAttach(ctx context.Context, p *program.Program, o attachOptions) error {
	c, err := o.client(p)
	if err != nil {
		return err
	}
	defer c.Close()
	l, err := c.Log(ctx, o.job, 0, o.tail)
	if err != nil {
		return err
	}
	for {
		n, failed := io.Copy(p.Streams.Out, l)
		at := l.From + n
		res, err := l.Result()
		_ = l.Close() // was read only
		if failed == nil && err == nil {
			return attachResult(res)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		p.Logger.Warn("the runner stopped; its next start goes on with the job, and is waited for", "for", runnerBack)
		if l, err = await(ctx, c, o.job, at); err != nil {
			return err
		}
		p.Logger.Info("the runner is back, and has the job")
	}
}

// await waits for the runner to come back and goes on reading the log.
func await(ctx context.Context, c *control.Client, id string, at int64) (*control.LogStream, error) {
	late := time.After(runnerBack)
	var back time.Time // when the runner answered first
	for {
		l, err := c.Log(ctx, id, at, -1)
		var refusal *control.Refusal
		switch {
		case err == nil:
			return l, nil
		case errors.As(err, &refusal) && refusal.Status == http.StatusNotFound && back.IsZero():
			back = time.Now()
		case errors.As(err, &refusal) && refusal.Status == http.StatusNotFound && time.Since(back) < adoptTime:
		case errors.As(err, &refusal) && refusal.Status == http.StatusNotFound:
			return nil, errors.New("the runner is back and does not have the job any more: it is over, GitLab has the rest of its log")
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		}
		select {
		case <-time.After(lookPause):
		case <-late:
			return nil, err
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// attachResult is the end of attach that tells the job's.
func attachResult(r control.Result) error {
	switch {
	case r.State == string(job.Success):
		return nil
	case r.ExitCode > 0 && r.ExitCode < 256:
		return &program.ExitError{Code: r.ExitCode}
	default:
		return &program.ExitError{Code: program.ExitFailure}
	}
}
