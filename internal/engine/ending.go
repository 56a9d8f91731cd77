package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/job"
	"gitlab.com/skerry/skerry/internal/plan"
	"gitlab.com/skerry/skerry/internal/stage"
)

// Why a job's work is ended early: causes of its contexts.
var (
	errCanceling = errors.New("the job was cancelled; after_script is still run")
	errCanceled  = errors.New("the job was cancelled")
	errGone      = errors.New("the coordinator says that the job is no longer this runner's")
	errTimeout   = errors.New("the job's timeout is over")
)

// stageError says that a stage ended badly.
type stageError struct {
	name   job.StageName
	result stage.Result
}

func (e *stageError) Error() string {
	if e.result.Message != "" {
		return e.result.Message
	}
	return fmt.Sprintf("exit status %d", e.result.ExitCode)
}

// isScript reports whether the stage ran the user's own text.
func (e *stageError) isScript() bool {
	return e.name == job.StageAfterScript || strings.HasPrefix(string(e.name), "step_")
}

// endedEarly reports whether err is one of the causes above (or a runner's stop): the job ends and
// nothing more is run in it.
func endedEarly(err error) bool {
	for _, cause := range []error{errCanceled, errGone, errTimeout, ErrShutdown, ErrDetach} {
		if errors.Is(err, cause) {
			return true
		}
	}
	return false
}

// result turns the error of a job's work into its result; nil is success.
func result(err error, p *plan.Plan) job.Result {
	var (
		failure *executor.Failure
		st      *stageError
	)
	r := job.Result{State: job.Failed, Reason: job.ReasonSystem}
	switch {
	case err == nil:
		return job.Result{State: job.Success}
	case errors.Is(err, errTimeout):
		r.Reason, r.Message = job.ReasonTimeout, fmt.Sprintf("execution took longer than %s seconds", p.Timeout)
	case errors.Is(err, errCanceling), errors.Is(err, errCanceled):
		r.Reason, r.Message = job.ReasonCanceled, "canceled"
	case errors.Is(err, errGone):
		r.Reason, r.Message = job.ReasonCanceled, err.Error()
	case errors.Is(err, ErrShutdown):
		r.Reason = job.ReasonInterrupted
		r.Message = "aborted: the runner was stopped while the job ran, and this job could not outlive it"
	case errors.As(err, &failure):
		r.Reason, r.Message = failure.Reason, failure.Err.Error()
		if r.Reason == job.ReasonScript {
			r.ExitCode = 1
		}
	case errors.As(err, &st):
		stageResult(&r, st, p)
	default:
		r.Message = err.Error()
	}
	return r
}

func stageResult(r *job.Result, st *stageError, p *plan.Plan) {
	r.Message = st.Error()
	switch st.result.Reason {
	case stage.Timeout:
		r.Reason = job.ReasonTimeout
		if p.Settings.ScriptTimeout > 0 && st.isScript() {
			r.Message = fmt.Sprintf("script timeout: execution took longer than %s", p.Settings.ScriptTimeout)
		} else {
			r.Message = fmt.Sprintf("execution took longer than %s seconds", p.Timeout)
		}
	case stage.Canceled:
		r.Reason, r.Message = job.ReasonCanceled, "canceled"
	case stage.Failed:
		// Whatever ends with an exit code fails the job with it, git too: gitlab-runner executors/shell.
		r.Reason, r.ExitCode = job.ReasonScript, st.result.ExitCode
		r.Message = exitWords(p.Runner.Executor, r.ExitCode) + memoryWords(st.result.Usage)
		if st.name == job.StageAfterScript {
			r.Message = string(st.name) + ": " + r.Message
		}
	}
}

// exitWords says how a script ended as GitLab Runner's executors do: people search their logs for it.
func exitWords(executor string, code int) string {
	if executor == "shell" {
		return fmt.Sprintf("exit status %d", code)
	}
	return fmt.Sprintf("exit code %d", code)
}

// status is CI_JOB_STATUS for after_script. Source: gitlab-runner common/build.go, BuildRuntimeState.
func status(err error) string {
	var st *stageError
	switch {
	case err == nil:
		return "success"
	case errors.Is(err, errCanceling), errors.As(err, &st) && st.result.Reason == stage.Canceled:
		return "canceled"
	case errors.As(err, &st) && st.result.Reason == stage.Timeout:
		return "timedout"
	default:
		return "failed"
	}
}

// cause is why ctx ended, nil while it has not.
func cause(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	return context.Cause(ctx)
}
