package container_test

import (
	"fmt"
	"testing"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/container/enginetest"
)

// TestBuildsThatBeginWithNothing wants jobs that fetch nothing to find nothing of earlier jobs in their builds
// directory, and those that fetch to find what such jobs have left.
func TestBuildsThatBeginWithNothing(t *testing.T) {
	t.Parallel()
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) {
		b := newBench(t, e)
		for i, job := range []struct{ strategy, want string }{
			{"fetch", ""}, {"none", "/cache/0"}, {"", "/builds/0 /cache/0 /cache/1"},
		} {
			r := b.prepare(t, b.o, theJob("", "GIT_STRATEGY="+job.strategy))
			r.script(executor.Helper, "true")
			got := r.script(executor.Build, fmt.Sprintf("echo $(ls -d /builds/[0-9] /cache/[0-9] 2>/dev/null); touch /builds/%[1]d /cache/%[1]d", i))
			if got != job.want {
				t.Errorf("with strategy %q the job finds %q, want %q", job.strategy, got, job.want)
			}
			r.close()
		}
	})
}
