package container

import (
	"testing"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/job"
)

// TestLabels: those of the configuration may hold the job's variables, and replace none of ours.
func TestLabels(t *testing.T) {
	t.Parallel()
	ref := executor.NewRef("0123456789abcdef")
	j := &job.Job{Variables: job.Variables{
		{Key: "TEAM", Value: "blue"}, {Key: "RUNNER_TEMP_PROJECT_DIR", Value: "/builds/p.tmp"}, {Key: "KEY", Value: "secret", File: true},
	}}
	got := labels(ref, j, "build", map[string]string{"team": "is $TEAM$UNSET", "key": "$KEY", labelRef: "other"})
	for key, want := range map[string]string{
		gitlabLabel + "team": "is blue", gitlabLabel + "key": "/builds/p.tmp/KEY", labelRef: ref.String(), labelPart: "build",
	} {
		if got[key] != want {
			t.Errorf("%s is %q, want %q", key, got[key], want)
		}
	}
}
