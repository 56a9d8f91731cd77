package plan_test

import (
	"testing"

	"gitlab.com/skerry/skerry/internal/job"
	"gitlab.com/skerry/skerry/internal/plan"
)

// TestSlotOfAJob is not a variable's to choose: what is bounded by slots holds whatever the job sets.
func TestSlotOfAJob(t *testing.T) {
	t.Parallel()
	j := gitJob("https://gitlab.example/group/project.git")
	j.Variables = append(j.Variables, job.Variable{Key: "CI_CONCURRENT_ID", Value: "0"})
	p, err := plan.New(j, plan.Runner{BuildsDir: "/b", CacheDir: "/c"}, plan.Slot{Concurrent: 3, Project: 1}, plan.Version{})
	if err != nil {
		t.Fatal(err)
	}
	if got := p.Resolved().Slot; got != 3 {
		t.Errorf("the job has slot %d", got)
	}
}
