package job

import "slices"

// State is a job's state as the coordinator knows it.
type State string

// The states that a runner may report.
const (
	Running State = "running"
	Success State = "success"
	Failed  State = "failed"
)

// Reason says why a job failed, in GitLab's words (failure_reason).
type Reason string

// Failure reasons. ReasonScript, ReasonSystem and ReasonTimeout are known to every coordinator;
// the others only when Features.FailureReasons lists them.
// Source: gitlab-runner common/failure_reason_mapper.go and GitLab's enums/ci/commit_status.rb.
const (
	ReasonNone          Reason = ""
	ReasonScript        Reason = "script_failure"
	ReasonSystem        Reason = "runner_system_failure"
	ReasonTimeout       Reason = "job_execution_timeout"
	ReasonUnsupported   Reason = "runner_unsupported"
	ReasonConfiguration Reason = "runner_configuration_error"
	ReasonInterrupted   Reason = "runner_interrupted" // somebody stopped the runner
	ReasonImagePull     Reason = "image_pull_failure"
	ReasonExternal      Reason = "runner_external_dependency_failure"
	ReasonCanceled      Reason = "job_canceled"
	ReasonUnknown       Reason = "unknown_failure"
)

// Result is how a job ended: what the final update to the coordinator says.
type Result struct {
	State    State
	Reason   Reason // empty on success
	ExitCode int    // of the user's script; meaningful only when Reason is ReasonScript
	Message  string // for the job's log and the operator: what, why, what to do next
}

// Reported maps r to a reason that the coordinator understands: r itself when known says so or
// when it is one of the three basic reasons, else the nearest basic one.
func (r Reason) Reported(known []string) Reason {
	switch r {
	case ReasonNone, ReasonScript, ReasonSystem, ReasonTimeout:
		return r
	}
	if slices.Contains(known, string(r)) {
		return r
	}
	if r == ReasonConfiguration {
		return ReasonScript // it is for the job's author to mend
	}
	return ReasonSystem
}
