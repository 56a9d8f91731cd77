package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/gitlab/runnertoken"
	"gitlab.com/skerry/skerry/internal/job"
	"gitlab.com/skerry/skerry/internal/plan"
)

// work runs the job's stages in their fixed order. work is the context of the whole job, script that
// of the user's script alone: a graceful cancellation ends only that.
// Source of the order: gitlab-runner common/build.go, executeScript.
func (x *execution) work(ctx, script context.Context) error {
	if x.planErr != nil {
		return x.planErr
	}
	if err := x.prepare(script); err != nil {
		return err
	}
	x.begun = time.Now()
	err := x.before(ctx, script)
	if errors.Is(err, errCanceling) { // before there was a script that could have left anything
		x.cleanup(ctx, err)
		return err
	}
	if err == nil {
		err = x.userScripts(ctx, script)
	}
	if endedEarly(err) || lost(err) {
		x.cleanup(ctx, err)
		return err
	}
	err = first(err, x.keep(ctx, err == nil))
	x.awaitSession(ctx)
	x.cleanup(ctx, err)
	return err
}

// first is the first error there is: what came before the uploads matters more than they do.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// before brings sources, caches and earlier jobs' artifacts. It is ended by either kind of
// cancellation: there is no script yet that could be ended gracefully.
func (x *execution) before(ctx, script context.Context) error {
	if err := x.simple(script, x.plan.Sources()); err != nil {
		return early(ctx, script, err)
	}
	restore, due, err := x.plan.RestoreCache()
	if err != nil {
		return err
	}
	if due {
		if err := x.simple(script, restore); err != nil {
			return early(ctx, script, err)
		}
	}
	return early(ctx, script, x.downloadArtifacts(script))
}

// early replaces an error by the cause that ended the stage, where there is one.
func early(ctx, script context.Context, err error) error {
	if err == nil {
		return nil
	}
	if c := cause(ctx); c != nil {
		return c
	}
	if c := cause(script); c != nil {
		return c
	}
	return err
}

func (x *execution) simple(ctx context.Context, st plan.Step) error {
	return x.stage(ctx, executor.Helper, st)
}

// userScripts runs the job's steps and then its after_script, which is run unless the job itself has
// been ended, and whose outcome counts only with AFTER_SCRIPT_IGNORE_ERRORS=false.
func (x *execution) userScripts(ctx, script context.Context) error {
	err := x.own(script)
	for _, st := range x.plan.Scripts() {
		if err != nil {
			break
		}
		err = x.stage(script, executor.Build, st)
	}
	if err != nil {
		if c := cause(ctx); c != nil {
			return c
		}
		if lost(err) || endedEarly(err) {
			return err
		}
		if c := cause(script); c != nil {
			err = c
			x.note("canceled", yellow+"WARNING: script canceled externally (UI, API)"+reset)
		}
	}
	after, due := x.plan.AfterScript(status(err))
	if !due {
		return err
	}
	afterErr := x.stage(ctx, executor.Build, after)
	switch {
	case afterErr == nil:
	case cause(ctx) != nil:
		return cause(ctx)
	case lost(afterErr):
		return first(err, afterErr)
	case x.plan.Settings.IgnoreAfterFail:
		x.note("after_script_failed", yellow+"WARNING: after_script failed, but job will continue unaffected: "+afterErr.Error()+reset)
	case err == nil:
		err = afterErr
	}
	return err
}

// prepare makes the environment, or finds it again, and hands the job over to its agents.
func (x *execution) prepare(ctx context.Context) error {
	section := plan.Step{Name: job.StagePrepareExecutor, Title: fmt.Sprintf("Preparing the %q executor", x.plan.Runner.Executor)}
	x.enter(section.Name)
	x.openSection(section, time.Now().UnixMicro())
	for _, w := range x.plan.Settings.Warnings {
		x.note("settings/"+w, yellow+"WARNING: "+w+reset)
	}
	err := x.makeEnvironment(ctx)
	x.closeSection(section, time.Now().UnixMicro())
	if err != nil {
		if errors.Is(cause(ctx), ErrDetach) {
			return ErrDetach
		}
		x.places.fail(err)
		if c := cause(ctx); c != nil {
			return c
		}
		var failure *executor.Failure
		if errors.As(err, &failure) {
			return err
		}
		return fmt.Errorf("prepare environment: %w", err)
	}
	x.enter(job.StagePrepareScript)
	x.section(plan.Step{Name: job.StagePrepareScript, Title: "Preparing environment", Lines: []string{"Running on " + x.places.host(executor.Helper) + "..."}})
	return nil
}

// makeEnvironment makes the environment and waits for its agent, no longer than prepare_timeout.
func (x *execution) makeEnvironment(ctx context.Context) error {
	ctx, done := x.reach(ctx, "prepared")
	defer done()
	if d := x.plan.Runner.PrepareTimeout; d > 0 && d < x.plan.Timeout {
		limited, cancel := context.WithTimeoutCause(ctx, d, &executor.Failure{Reason: job.ReasonTimeout,
			Err: fmt.Errorf("preparing the environment took longer than prepare_timeout (%s)", d)})
		defer cancel()
		ctx = limited
	}
	err := x.environment(ctx)
	if err == nil {
		_, err = x.places.agent(ctx, executor.Helper)
	}
	if err == nil {
		x.mark("prepared")
	}
	return first(cause(ctx), err)
}

// environment calls the executor: Prepare for a job that no agent has been seen of, else Adopt.
func (x *execution) environment(ctx context.Context) error {
	exec, err := x.e.o.Executor(x.plan.Runner)
	if err != nil {
		return err
	}
	var env executor.Environment
	if x.trace.Has("prepared") {
		env, err = exec.Adopt(ctx, x.ref)
		if errors.Is(err, executor.ErrGone) {
			return errors.New("the job's environment is gone: the machine or its processes were stopped while the runner was not running")
		}
	} else {
		env, err = exec.Prepare(ctx, x.ref, x.plan.Resolved(), x.trace.Lines("prepare/"))
	}
	if err != nil {
		return err
	}
	x.places.open(env)
	x.accompany(ctx, env)
	return nil
}

// header opens the log with who runs the job. Source: gitlab-runner common/build.go, printRunningWithHeader.
func (x *execution) header() {
	v, r := x.plan.Version, x.plan.Runner
	x.note("running", fmt.Sprintf("Running with %s %s (%s)", v.Name, v.Version, v.Revision))
	x.note("on", fmt.Sprintf("  on %s %s, system ID: %s", r.Name, runnertoken.Short(r.Token), r.SystemID))
}

// footer says what the job has used and how it ended, and closes the log.
func (x *execution) footer(ctx context.Context, res job.Result) {
	x.writeAccount()
	x.writeNix(ctx)
	switch {
	case res.State == job.Success:
		x.note("result", green+"Job succeeded"+reset)
	case res.Reason == job.ReasonSystem, res.Reason == job.ReasonInterrupted:
		x.note("result", red+"ERROR: Job failed (system failure): "+oneLine(res.Message)+reset)
	default:
		x.note("result", red+"ERROR: Job failed: "+oneLine(res.Message)+reset)
	}
	x.close()
}

func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}

// ANSI colours as GitLab Runner's log uses them. Source: gitlab-runner helpers/ansi_colors.go.
const (
	red    = "\x1b[31;1m"
	green  = "\x1b[32;1m"
	yellow = "\x1b[0;33m"
	cyan   = "\x1b[36;1m"
	reset  = "\x1b[0;m"
)
