// Package executor is the contract between the engine and whatever provides environments for
// jobs. An executor only provides places: it prepares an environment, hands out a connection to
// the agent in each place, finds the environment again after a restart and says why a place died.
// Everything that is done in a place is done by the agent.
//
// # Lifecycle
//
// The engine chooses a Ref and records it before it calls Prepare. Prepare may be called again
// with the same Ref (the runner died in between, or nobody knows whether it did): it continues
// what is half-made. Everything that an executor makes carries the Ref, so that Reconcile can
// remove what no Ref names. A Ref is never used again after Close succeeded.
//
// # Concurrency
//
// All methods may be called concurrently, for one or for several environments. Prepare returns
// without waiting for the places to come up; the goroutines it starts end with Close or with the
// runner. Dial waits until the place's agent answers, until ctx ends, or until the place has died,
// and returns what Diagnose knows in that case.
//
// # Errors
//
// An error that is the fault of the job's author (image not found, not allowed) or of a third party
// is a *Failure; every other error means that the runner or its host is at fault.
package executor

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"strings"

	"gitlab.com/skerry/skerry/internal/job"
)

// Place is where an agent runs inside an environment.
type Place string

// The places. An executor may serve both with one agent (shell does): then Dial ignores the difference.
const (
	Helper Place = "helper" // our tools and git
	Build  Place = "build"  // the user's image
)

// OwnerID names one installation of the runner: 16 hex digits, random, kept in its state directory.
type OwnerID string

// Ref is an environment's identity: chosen before anything of it exists, never used twice.
type Ref struct {
	Owner OwnerID
	ID    string // 16 lower-case hex digits, random
}

// NewRef returns a Ref with a random ID.
func NewRef(owner OwnerID) Ref {
	b := make([]byte, 8)
	_, _ = rand.Read(b) // never fails, crypto/rand
	return Ref{Owner: owner, ID: hex.EncodeToString(b)}
}

// String returns "owner/id", which ParseRef reads.
func (r Ref) String() string { return string(r.Owner) + "/" + r.ID }

// ParseRef reads what Ref.String wrote.
func ParseRef(s string) (Ref, error) {
	owner, id, ok := strings.Cut(s, "/")
	if !ok || owner == "" || id == "" || strings.ContainsAny(id, "/.") || strings.ContainsAny(owner, ".") {
		return Ref{}, fmt.Errorf("environment reference %q is not of the form OWNER/ID", s)
	}
	return Ref{Owner: OwnerID(owner), ID: id}, nil
}

// Executor makes environments. See the package comment for the rules.
type Executor interface {
	// Prepare begins to make (or continues) the environment ref and returns at once; Dial waits for
	// each place. Lines for the job's author go to log, whole ones in each Write. Work that Prepare goes on
	// with in the background is bound to the Environment, not to ctx.
	Prepare(ctx context.Context, ref Ref, j *job.Job, log io.Writer) (Environment, error)
	// Adopt finds ref again, half-made or whole. It returns ErrGone when nothing of it is left.
	Adopt(ctx context.Context, ref Ref) (Environment, error)
	// Reconcile removes everything of owner that keep does not name. What is already gone is no error.
	Reconcile(ctx context.Context, owner OwnerID, keep []Ref) error
}

// Environment is where one job runs.
type Environment interface {
	// Dial returns a connection to the agent of place. The caller closes it. See "Concurrency" above.
	Dial(ctx context.Context, place Place) (net.Conn, error)
	// Diagnose says why a place died (out of memory, evicted, noexec, killed), nil while it lives.
	Diagnose(ctx context.Context, place Place) error
	// Close ends every process of the environment and removes all of it. It may be called again, also
	// by another runner process, and must survive an engine that is gone or an environment half-made.
	Close(ctx context.Context) error
}

// Companion is an Environment in which more runs than a job's places: its services. One that does not
// implement it has nothing else.
type Companion interface {
	// Follow copies what the i-th of them writes (0, 1, …) to open(i), whole lines in one Write each, from its very
	// beginning, until it ends or ctx does. It may open one several times, each time to begin at the beginning.
	Follow(ctx context.Context, open func(i int) io.Writer)
	// Report writes lines about those that ended before the job did, at its end. It returns when ctx ends.
	Report(ctx context.Context, log io.Writer)
}

// Bequeather is an Environment of which something may serve later jobs. One that does not implement it leaves nothing.
type Bequeather interface {
	// Bequeath says, before Close, that the job has succeeded: what is worth it may be kept then. As that may take long, Close calls free,
	// perhaps more than once, as soon as its numbers, and the directories that are named after them, can be another job's.
	Bequeath(free func())
}

// Failure is an error with a reason other than the runner's own fault.
//
//nolint:errname // it is a failure with a reason, and "FailureError" would say less
type Failure struct {
	Reason job.Reason
	Err    error
}

func (f *Failure) Error() string { return f.Err.Error() }

// Unwrap returns the cause.
func (f *Failure) Unwrap() error { return f.Err }

// Survivor is an executor that knows whether its environments outlive the runner's process. One that
// does not implement it is taken to have environments that do.
type Survivor interface {
	// Survives returns nil when they do, else why they would not, in words for the operator.
	Survives(ctx context.Context) error
}
