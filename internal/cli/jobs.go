package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"gitlab.com/skerry/skerry/internal/cli/program"
	"gitlab.com/skerry/skerry/internal/control"
)

// running finds the runner that a command asks.
type running struct {
	configPath string
	dirs       directories
}

func (r *running) flags(p *program.Program, cmd *cobra.Command) {
	p.ConfigFlag(cmd, &r.configPath)
	cmd.Flags().StringVarP(&r.dirs.work, "working-directory", "d", "", "working directory of the runner, when its state is there")
	r.dirs.stateFlag(p, cmd)
}

// client returns a client of the runner's socket, in the state directory that run would have.
func (r *running) client(p *program.Program) (*control.Client, error) {
	if r.dirs.state == "" {
		opts := p.ConfigOptions()
		opts.NoSystemID = true
		c, err := p.Load(r.configPath, opts)
		if err != nil {
			return nil, fmt.Errorf("find the runner's state directory (--state-dir names it): %w", err)
		}
		if err := r.dirs.resolve(c); err != nil {
			return nil, err
		}
	}
	return control.NewClient(r.dirs.state), nil
}

type jobsOptions struct {
	running

	json    bool
	release string
}

func newJobs(p *program.Program) *cobra.Command {
	var o jobsOptions
	cmd := &cobra.Command{
		Use:   "jobs",
		Short: "List the jobs of the running runner",
		Long: "List the jobs that `run` has on this machine, those with an environment that is kept (keep_failed) too. " +
			"It is for the runner's user and root.",
		RunE: func(cmd *cobra.Command, _ []string) error { return runJobs(cmd.Context(), p, o) },
	}
	o.flags(p, cmd)
	cmd.Flags().BoolVar(&o.json, "json", false, "for other programs: a list of objects")
	cmd.Flags().StringVar(&o.release, "release", "", "remove the kept environment of this job, and list nothing")
	return cmd
}

func runJobs(ctx context.Context, p *program.Program, o jobsOptions) error {
	c, err := o.client(p)
	if err != nil {
		return err
	}
	defer c.Close()
	if o.release != "" {
		return c.Release(ctx, o.release)
	}
	jobs, err := c.Jobs(ctx)
	if err != nil {
		return err
	}
	if o.json {
		e := json.NewEncoder(p.Streams.Out)
		e.SetIndent("", "  ")
		return e.Encode(jobs)
	}
	if len(jobs) == 0 {
		p.Logger.Info("the runner has no job now")
		return nil
	}
	w := tabwriter.NewWriter(p.Streams.Out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "JOB\tPROJECT\tNAME\tRUNNER\tSTAGE\tSINCE\tSTATE\tREF")
	for _, j := range jobs {
		_, id, _ := strings.Cut(j.Ref, "/")
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", j.ID, program.Cell(j.Project), program.Cell(j.Name), program.Cell(j.Runner), program.Cell(j.Stage),
			time.Since(j.Since).Round(time.Second), jobState(j), id)
	}
	return w.Flush()
}

// jobState says how a job is, in a few words.
func jobState(j control.Job) string {
	switch {
	case j.State == control.Kept:
		return fmt.Sprintf("%s, kept for %s", j.Result.State, max(time.Until(j.KeptUntil), 0).Round(time.Second))
	case j.Result != nil:
		return j.Result.State + ", " + j.State
	}
	return j.State
}

// oneJob is the JOB argument of attach and shell.
func oneJob(cmd *cobra.Command, args []string) error {
	if len(args) > 0 && args[0] != "" && cmd.ArgsLenAtDash() != 0 {
		return nil
	}
	return &program.UsageError{Command: cmd.CommandPath(), Err: errors.New("name a job: its id, or its ref as `jobs` lists it")}
}
