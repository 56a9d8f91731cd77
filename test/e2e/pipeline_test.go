package e2e

import (
	"fmt"
	"testing"

	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
	"gitlab.com/skerry/skerry/internal/gitlab/jobpayload"
)

// TestJobsInARow runs the jobs of a pipeline one after another, each handed out as soon as the one before has ended:
// each gets the numbers, the sources and the cache of the one before.
func TestJobsInARow(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, m machine) {
		r := m.runner(t, m.project(t, gitlabtest.Options{}), "limit = 1")
		r.editConfig("concurrent = 10", "concurrent = 1")
		m.own(t, r.config())
		var ids []int64
		for i := range 5 {
			ids = append(ids, r.add(gitlabtest.JobSpec{
				Project: "group/project", Cache: []jobpayload.Cache{{Key: "key", Paths: []string{"cached"}}},
				Script: []string{
					fmt.Sprintf("mkdir -p cached; test $(ls cached | wc -l) = %d; echo > cached/%d", i, i),
					`echo "$CI_CONCURRENT_ID,$CI_CONCURRENT_PROJECT_ID in $CI_PROJECT_DIR"`,
				},
			}))
		}
		r.start()
		for i, id := range ids {
			j, log := r.wait(id)
			want(t, j, log, gitlabtest.StatusSuccess, "")
			contains(t, log, "01O 0,0 in ", map[bool]string{true: "Created fresh repository", false: "Reinitialized existing"}[i == 0])
		}
	})
}
