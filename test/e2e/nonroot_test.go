package e2e

import (
	"strings"
	"testing"

	"gitlab.com/skerry/skerry/internal/executor/container/enginetest"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
	"gitlab.com/skerry/skerry/internal/gitlab/jobpayload"
)

// userImage is jobImage for a user that is not root.
const userImage = "skerry.test/e2e-user:latest"

// TestUserThatIsNotRoot goes through every stage in an image whose user is not root, over a death of the runner, and
// again in the volumes that this has left.
func TestUserThatIsNotRoot(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, m machine) {
		m.engine.Load(t, enginetest.Image{Name: userImage, User: "1234:1234"})
		c := newChaos(t, m)
		for range 2 {
			g := m.gate(t)
			spec := wholeJob(c.dependency)
			spec.Script = append(append([]string{"id -u", "test ! -e made", "echo mine > README"}, g.lines()...), spec.Script[1:]...)
			spec.Edit = func(p *jobpayload.Payload) { p.Image = &jobpayload.Image{Name: userImage} }
			id := c.add(spec)
			g.await(t)
			c.restart()
			g.open(t)
			j, log := c.wait(id)
			want(t, j, log, gitlabtest.StatusFailed, "script_failure")
			contains(t, log, "01O 1234", "01O line 10", "01O after failed", m.says(3))
			if j.ExitCode != 3 || len(j.Artifacts) != 1 || strings.Contains(log, "denied") {
				t.Errorf("exit code %d, artifacts %v\n%s", j.ExitCode, j.Artifacts, log)
			}
			until(t, "the job is forgotten", func() bool { return len(c.environments()) == 0 })
		}
	})
}
