package e2e

import (
	"cmp"
	"fmt"
	"strings"
	"testing"

	"gitlab.com/skerry/skerry/internal/executor/container/enginetest"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
	"gitlab.com/skerry/skerry/internal/gitlab/jobpayload"
)

// imageOfUser is jobImage with a user.
const imageOfUser = "skerry.test/e2e-users:latest"

// TestUsersInTurn runs jobs of several users one after the other in the volumes of one project: each works with
// its files, whoever has left what is there.
func TestUsersInTurn(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, m machine) {
		r := m.runnerWith(t, m.project(t, gitlabtest.Options{}), nil, `volumes = ["deps", "/data"]`)
		r.start()
		m.engine.Load(t, enginetest.Image{Name: imageOfUser, User: "job"})
		for i, job := range []struct{ name, user, flag string }{
			{"the project is the user's", "1000:1000", "true"},
			{"another user", "2000:2000", "false"},
			{"root", "0", "false"},
			{"the first user again", "1000:1000", "false"},
			{"and with the project its own", "2000:2000", "true"},
			{"root with the flag", "0", "true"},
			{"the image's own", "", "false"},
			{"the image's own, and the project", "", "true"},
		} {
			until(t, "the job before has let go of the volumes", func() bool { return len(r.environments()) == 0 })
			j, log := r.wait(r.add(jobOfUser(job.user, job.flag)))
			want(t, j, log, gitlabtest.StatusSuccess, "")
			uid, _, _ := strings.Cut(cmp.Or(job.user, "1000"), ":")
			contains(t, log, "after script has of-"+uid, "service is "+uid, fmt.Sprintf("turn %d\n", i+1))
			if t.Failed() {
				t.Fatalf("%s: %s", job.name, log)
			}
		}
	})
}

// jobOfUser is a job that works with all that a project has, and a service, as user; empty: that of the image.
func jobOfUser(user, owned string) gitlabtest.JobSpec {
	image := jobpayload.Image{Name: imageOfUser}
	if user != "" {
		image = jobpayload.Image{Name: jobImage, ExecutorOpts: []byte(`{"docker":{"user":"` + user + `"}}`)}
	}
	service := image
	service.Alias, service.Command = "web", []string{"nc", "-ll", "-p", "8080", "-e", "id", "-u"}
	service.Variables = []jobpayload.Variable{{Key: "HEALTHCHECK_TCP_PORT", Value: "8080", Public: true}}
	return gitlabtest.JobSpec{
		Project: "group/project", Image: &image, Services: []jobpayload.Image{service},
		Variables: []jobpayload.Variable{
			{Key: "FF_DISABLE_UMASK_FOR_DOCKER_EXECUTOR", Value: owned, Public: true},
			{Key: "GIT_CLEAN_FLAGS", Value: "-ffdx -e deps/", Public: true}, // a volume cannot be removed
		},
		Script: []string{
			"ls -la . ..", "echo A=of-$(id -u) > $GITLAB_ENV", "echo x >> README", "mkdir -p dir && echo x > dir/file",
			"touch /cache/x /data/x deps/x && rm /cache/x /data/x deps/x", "echo $(id -u) >> kept",
			"for i in $(seq 50); do s=$(nc -w 5 web 8080 < /dev/null) && [ -n \"$s\" ] && break || sleep 0.2; done; echo service is $s",
			"touch /builds/turn-$(id -u)-$RANDOM$$; echo turn $(ls -d /builds/turn-* | wc -l)",
		},
		AfterScript: []string{"echo after script has $A"},
		Artifacts:   []jobpayload.Artifact{{Paths: []string{"dir"}, When: "always", ArtifactFormat: "zip", ArtifactType: "archive"}},
		Cache:       []jobpayload.Cache{{Key: "users", Paths: []string{"kept"}, Policy: "pull-push"}},
	}
}
