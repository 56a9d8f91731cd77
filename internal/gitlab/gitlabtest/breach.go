package gitlabtest

import (
	"fmt"
	"slices"
	"time"
)

// Kind names a rule of the contract.
type Kind string

// The rules that a runner can break.
const (
	BreachRequestID      Kind = "request-id"       // X-Request-Id is missing or not 32 hex digits
	BreachRunnerToken    Kind = "runner-token"     // RUNNER-TOKEN is missing or differs from the body's token
	BreachJobTokenHeader Kind = "job-token-header" // JOB-TOKEN is missing
	BreachJobToken       Kind = "job-token"        // JOB-TOKEN differs from the body's token, or is not this job's
	BreachUnknownJob     Kind = "unknown-job"      // no job has this id
	BreachBody           Kind = "body"             // a body that is no JSON, or with wrong or missing fields
	BreachContentType    Kind = "content-type"     // a wrong Content-Type
	BreachRange          Kind = "content-range"    // Content-Range is missing, malformed or does not fit the body
	BreachPatchSize      Kind = "patch-size"       // an empty patch or one of more than 1 MiB
	BreachGap            Kind = "trace-gap"        // a patch begins beyond the end of the trace
	BreachOverlap        Kind = "trace-overlap"    // a patch begins before the end of the trace
	BreachChecksum       Kind = "trace-checksum"   // the final update's checksum is not the trace's
	BreachSize           Kind = "trace-size"       // the final update's byte size is not the trace's
	BreachAfterEnd       Kind = "after-end"        // a call about a job whose end the runner has reported
	BreachSecondFinal    Kind = "second-final"     // a final state after an accepted final state
	BreachState          Kind = "state"            // a state that a runner may not report, or not now
	BreachReason         Kind = "failure-reason"   // a reason that the payload did not offer
	BreachNotRunning     Kind = "not-running"      // trace or artifacts before the job was reported running
	BreachTooSoon        Kind = "too-soon"         // a request before Retry-After was over
	BreachArtifact       Kind = "artifact"         // an upload that the job did not ask for, or not of its format
	BreachDownload       Kind = "download"         // an artifact of a job that this one does not depend on
	BreachUnknownRoute   Kind = "route"            // a call that the API does not have
)

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

// Breaches returns the breaches so far, oldest first.
func (c *Coordinator) Breaches() []Breach {
	c.breachMu.Lock()
	defer c.breachMu.Unlock()
	return slices.Clone(c.breaches)
}

// TakeBreaches returns the breaches so far and forgets them: for tests that provoke one.
func (c *Coordinator) TakeBreaches() []Breach {
	c.breachMu.Lock()
	defer c.breachMu.Unlock()
	b := c.breaches
	c.breaches = nil
	return b
}

func (c *Coordinator) breach(kind Kind, job int64, format string, args ...any) {
	if slices.Contains(c.opts.Tolerate, kind) {
		return
	}
	b := Breach{Time: c.opts.Clock.Now(), Kind: kind, Job: job, Message: fmt.Sprintf(format, args...)}
	c.opts.Logger.Warn("breach of the runner API's contract", "kind", kind, "job", job, "what", b.Message)
	c.breachMu.Lock()
	defer c.breachMu.Unlock()
	c.breaches = append(c.breaches, b)
}

// TB is what Start needs of a *testing.T or *testing.B.
type TB interface {
	Helper()
	Cleanup(func())
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	TempDir() string
}

// Start starts a coordinator that ends with the test and makes it fail for every breach. An empty
// opts.Dir becomes a temporary directory of the test.
func Start(t TB, opts Options) *Coordinator {
	t.Helper()
	if opts.Dir == "" {
		opts.Dir = t.TempDir()
	}
	c, err := New(opts)
	if err != nil {
		t.Fatalf("start coordinator: %v", err)
		return nil
	}
	t.Cleanup(func() {
		t.Helper()
		c.Close()
		for _, b := range c.Breaches() {
			t.Errorf("breach of the runner API's contract: %v", b)
		}
	})
	return c
}
