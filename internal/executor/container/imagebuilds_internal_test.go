package container

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
)

// TestImageBuildsOption gives Docker the profile itself, and Podman, whose own lets jobs do more, nothing.
func TestImageBuildsOption(t *testing.T) {
	t.Parallel()
	list := []string{"label=disable", "seccomp=image-builds"}
	podman, err := securityOptions(list, engineapi.Podman)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"label=disable"}, podman); diff != "" {
		t.Error(diff)
	}
	docker, err := securityOptions(list, engineapi.Docker)
	if err != nil {
		t.Fatal(err)
	}
	if len(docker) != 2 || docker[0] != list[0] || !strings.HasPrefix(docker[1], `seccomp={"defaultAction":"SCMP_ACT_ERRNO"`) {
		t.Errorf("%q", docker)
	}
}
