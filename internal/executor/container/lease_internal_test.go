package container

import (
	"log/slog"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/job"
)

// TestLeaseWithoutARecordEnds leases volumes as a runner does that is killed before it has written anything
// else down: once no job has the lease, it is the next one's.
func TestLeaseWithoutARecordEnds(t *testing.T) {
	t.Parallel()
	e := New(Options{Dir: t.TempDir()}, &Host{}, slog.New(slog.DiscardHandler))
	owner := executor.OwnerID("0123456789abcdef")
	dead, alive, next := executor.NewRef(owner), executor.NewRef(owner), executor.NewRef(owner)
	j := &job.Job{ProjectID: 7}
	for n, ref := range []executor.Ref{dead, alive} {
		if got, err := e.lease(t.Context(), ref, j); err != nil || got != n {
			t.Fatalf("lease of %s: %d, %v; want %d", ref, got, err, n)
		}
	}
	if err := e.reconcileDirs(t.Context(), owner, []executor.Ref{alive}); err != nil {
		t.Fatal(err)
	}
	if got, err := e.lease(t.Context(), next, j); err != nil || got != 0 {
		t.Errorf("the next lease: %d, %v; want 0", got, err)
	}
	left, err := os.ReadDir(e.leases())
	if err != nil || len(left) != 2 {
		t.Errorf("%d leases, %v; want 2", len(left), err)
	}
}

// TestLeaseOfAClosingEnvironment asks for volumes while the job that has them is being removed: they are waited for,
// but not those of a job that runs on, and not for long.
func TestLeaseOfAClosingEnvironment(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := New(Options{Dir: t.TempDir()}, &Host{}, slog.New(slog.DiscardHandler))
		owner, j := executor.OwnerID("0123456789abcdef"), &job.Job{ProjectID: 7}
		take := func(want int) executor.Ref {
			t.Helper()
			ref := executor.NewRef(owner)
			if got, err := e.lease(t.Context(), ref, j); err != nil || got != want {
				t.Fatalf("lease: %d, %v; want %d", got, err, want)
			}
			return ref
		}
		leave := func(ref executor.Ref) {
			if err := e.vacate(ref); err != nil {
				t.Error(err)
			}
		}
		first, second := take(0), take(1)
		e.host.vacating(second)
		time.AfterFunc(leaseWait/2, func() { leave(second) })
		second = take(1)
		e.host.vacating(first)
		began := time.Now()
		third := take(2) // the first takes too long
		if took := time.Since(began); took != leaseWait {
			t.Errorf("waited for %v, want %v", took, leaseWait)
		}
		leave(first)
		leave(second)
		leave(third)
		take(0)
	})
}
