package container

import (
	"log/slog"
	"testing"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/container/images"
	"gitlab.com/skerry/skerry/internal/job"
)

// TestPrivilegesFollowTheList: privileges are for listed images only, whatever name a job writes.
func TestPrivilegesFollowTheList(t *testing.T) {
	t.Parallel()
	rules := images.Rules{PrivilegedImages: []string{"docker:*"}, PrivilegedService: []string{"docker:*-dind"}}
	for _, tc := range []struct {
		image, service  string
		build, services bool
	}{
		{"docker:27", "docker:27-dind", true, true},
		{"docker.io/library/docker:27", "index.docker.io/docker:27-dind", true, true},
		{"evil/docker:27", "docker:27", false, false},
		{"localhost:5000/docker:27", "docker:27-dind@sha256:2aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false, false},
	} {
		e := New(Options{Dir: t.TempDir(), Rules: rules, BuildsDir: "/builds", CacheDir: "/cache"}, &Host{}, slog.New(slog.DiscardHandler))
		b, err := e.draw(t.Context(), executor.NewRef("0123456789abcdef"), &job.Job{Image: &job.Image{Name: tc.image, User: "root"}, Services: []job.Image{{Name: tc.service}}})
		if err != nil {
			t.Fatal(err)
		}
		if b.Build.Unprivileged == tc.build || b.Services[0].Unprivileged == tc.services {
			t.Errorf("%s, %s: unprivileged %v, %v", tc.image, tc.service, b.Build.Unprivileged, b.Services[0].Unprivileged)
		}
	}
}
