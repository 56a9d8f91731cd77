package e2e

import (
	"fmt"
	"strings"
	"testing"

	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
	"gitlab.com/skerry/skerry/internal/gitlab/jobpayload"
)

// TestUsersInTurn runs jobs of several users one after the other in the volumes of one project: each works with
// its files, whoever has left what is there.
func TestUsersInTurn(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, m machine) {
		r := m.runnerWith(t, m.project(t, gitlabtest.Options{}), nil, `volumes = ["deps", "/data"]`)
		r.start()
		const owned = "FF_DISABLE_UMASK_FOR_DOCKER_EXECUTOR"
		for i, job := range []struct{ name, user, flag string }{
			{"the project is the user's", "1000:1000", "true"},
			{"another user", "2000:2000", "false"},
			{"root", "0", "false"},
			{"the first user again", "1000:1000", "false"},
			{"and with the project its own", "2000:2000", "true"},
			{"root with the flag", "0", "true"},
		} {
			until(t, "the job before has let go of the volumes", func() bool { return len(r.environments()) == 0 })
			j, log := r.wait(r.add(gitlabtest.JobSpec{
				Project: "group/project",
				Variables: []jobpayload.Variable{
					{Key: owned, Value: job.flag, Public: true},
					{Key: "GIT_CLEAN_FLAGS", Value: "-ffdx -e deps/", Public: true}, // a volume cannot be removed
				},
				Script: []string{
					"id -u", "echo A=of-$(id -u) > $GITLAB_ENV", "echo x >> README", "mkdir -p dir && echo x > dir/file", "ls -la . ..",
					"touch /cache/x /data/x deps/x && rm /cache/x /data/x deps/x", "echo $(id -u) >> kept",
					"touch /builds/turn-$(id -u)-$RANDOM$$; echo turn $(ls -d /builds/turn-* | wc -l)",
				},
				AfterScript: []string{"echo after script has $A"},
				Image:       &jobpayload.Image{Name: jobImage, ExecutorOpts: []byte(`{"docker":{"user":"` + job.user + `"}}`)},
				Artifacts:   []jobpayload.Artifact{{Paths: []string{"dir"}, When: "always", ArtifactFormat: "zip", ArtifactType: "archive"}},
				Cache:       []jobpayload.Cache{{Key: "users", Paths: []string{"kept"}, Policy: "pull-push"}},
			}))
			want(t, j, log, gitlabtest.StatusSuccess, "")
			uid, _, _ := strings.Cut(job.user, ":")
			contains(t, log, "after script has of-"+uid, fmt.Sprintf("turn %d\n", i+1))
			if t.Failed() {
				t.Fatalf("%s: %s", job.name, log)
			}
		}
	})
}
