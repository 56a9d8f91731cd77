package container

import (
	"log/slog"
	"os"
	"testing"

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
		if got, err := e.lease(ref, j); err != nil || got != n {
			t.Fatalf("lease of %s: %d, %v; want %d", ref, got, err, n)
		}
	}
	if err := e.reconcileDirs(t.Context(), owner, []executor.Ref{alive}); err != nil {
		t.Fatal(err)
	}
	if got, err := e.lease(next, j); err != nil || got != 0 {
		t.Errorf("the next lease: %d, %v; want 0", got, err)
	}
	left, err := os.ReadDir(e.leases())
	if err != nil || len(left) != 2 {
		t.Errorf("%d leases, %v; want 2", len(left), err)
	}
}
