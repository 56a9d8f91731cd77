package daemon

import (
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/engine"
	"gitlab.com/skerry/skerry/internal/job"
	"gitlab.com/skerry/skerry/internal/plan"
)

// What the coordinator says of its queue reaches the metrics.
func TestBoardJobTellsOfTheQueue(t *testing.T) {
	t.Parallel()
	queue := job.Queue{Waited: 3 * time.Second, ProjectRunning: "5+", Size: 7, Depth: 2}
	got := boardJob(engine.Start{Plan: &plan.Plan{Job: &job.Job{Queue: queue}}})
	if got.Queue != queue {
		t.Errorf("queue is %+v, want %+v", got.Queue, queue)
	}
}
