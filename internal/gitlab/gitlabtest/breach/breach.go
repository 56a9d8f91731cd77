// Package breach names the rules between GitLab and its runners, and keeps a list of what broke them.
package breach

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// Kind names a rule of the contract.
type Kind string

// The rules that a runner can break.
const (
	RequestID      Kind = "request-id"       // X-Request-Id is missing or not 32 hex digits
	RunnerToken    Kind = "runner-token"     // RUNNER-TOKEN is missing or differs from the body's token
	JobTokenHeader Kind = "job-token-header" // JOB-TOKEN is missing
	JobToken       Kind = "job-token"        // JOB-TOKEN differs from the body's token, or is not this job's
	UnknownJob     Kind = "unknown-job"      // no job has this id
	Body           Kind = "body"             // a body that is no JSON, or with wrong or missing fields
	ContentType    Kind = "content-type"     // a wrong Content-Type
	Range          Kind = "content-range"    // Content-Range is missing, malformed or does not fit the body
	PatchSize      Kind = "patch-size"       // an empty patch or one of more than 1 MiB
	Gap            Kind = "trace-gap"        // a patch begins beyond the end of the trace
	Overlap        Kind = "trace-overlap"    // a patch begins before the end of the trace
	Checksum       Kind = "trace-checksum"   // the final update's checksum is not the trace's
	Size           Kind = "trace-size"       // the final update's byte size is not the trace's
	AfterEnd       Kind = "after-end"        // a call about a job whose end the runner has reported
	SecondFinal    Kind = "second-final"     // a final state after an accepted final state
	State          Kind = "state"            // a state that a runner may not report, or not now
	Reason         Kind = "failure-reason"   // a reason that the payload did not offer
	NotRunning     Kind = "not-running"      // trace or artifacts before the job was reported running
	TooSoon        Kind = "too-soon"         // a request before Retry-After was over
	Artifact       Kind = "artifact"         // an upload that the job did not ask for, or not of its format
	Download       Kind = "download"         // an artifact of a job that this one does not depend on
	LastUpdate     Kind = "last-update"      // a last_update that this runner was never given
	DebugTrace     Kind = "debug-trace"      // a debug_trace of a patch that is neither true nor false
	UnknownRoute   Kind = "route"            // a call that the API does not have
)

// Kinds are all the rules.
func Kinds() []Kind {
	return []Kind{
		RequestID, RunnerToken, JobTokenHeader, JobToken, UnknownJob, Body, ContentType, Range, PatchSize, Gap, Overlap, Checksum, Size,
		AfterEnd, SecondFinal, State, Reason, NotRunning, TooSoon, Artifact, Download, LastUpdate, DebugTrace, UnknownRoute,
	}
}

// Breach is one breach of the contract.
type Breach struct {
	Time    time.Time
	Kind    Kind
	Job     int64 // 0 for calls that are not about a job
	Message string
}

func (b Breach) String() string {
	if b.Job == 0 {
		return fmt.Sprintf("%s: %s", b.Kind, b.Message)
	}
	return fmt.Sprintf("job %d: %s: %s", b.Job, b.Kind, b.Message)
}

// List is a list of breaches. Its methods may be called concurrently.
type List struct {
	mu       sync.Mutex
	breaches []Breach
}

// Add appends b.
func (l *List) Add(b Breach) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.breaches = append(l.breaches, b)
}

// All returns the breaches so far, oldest first.
func (l *List) All() []Breach {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.breaches)
}

// Take returns the breaches so far and forgets them.
func (l *List) Take() []Breach {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.breaches
	l.breaches = nil
	return b
}
