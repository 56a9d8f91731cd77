package wholefile

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestReplaceable asks of a place that is a mount everywhere: a file needs rights to be mounted.
func TestReplaceable(t *testing.T) {
	t.Parallel()
	if err := replaceable("/proc"); err == nil || !strings.Contains(err.Error(), "mounted by itself") {
		t.Errorf("/proc: %v", err)
	}
	for _, path := range []string{t.TempDir(), filepath.Join(t.TempDir(), "none")} {
		if err := replaceable(path); err != nil {
			t.Error(err)
		}
	}
}
