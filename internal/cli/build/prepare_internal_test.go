package build

import (
	"errors"
	"io"
	"strings"
	"testing"

	"gitlab.com/skerry/skerry/internal/cli/program"
)

// TestPrepareRunnerAsks makes nobody's machine an image by mistake.
func TestPrepareRunnerAsks(t *testing.T) {
	t.Parallel()
	run := func(args ...string) error {
		cmd := prepare()
		cmd.SetArgs(args)
		cmd.SetOut(io.Discard)
		cmd.SetErr(io.Discard)
		return cmd.ExecuteContext(t.Context())
	}
	var usage *program.UsageError
	if err := run(); !errors.As(err, &usage) || !strings.Contains(err.Error(), "--in-image") {
		t.Errorf("without a word: %v", err)
	}
	if err := run("--root", t.TempDir()); err == nil || !strings.Contains(err.Error(), "there is no podman") {
		t.Errorf("of nothing: %v", err)
	}
}
