package container

import (
	"strings"
	"testing"
)

func TestNoRoomForImages(t *testing.T) {
	t.Parallel()
	f, e := offering(t)
	f.root = t.TempDir()
	v := draws(t, e)
	if _, err := v.roomFor(t.Context(), 1<<60); err == nil || !strings.Contains(err.Error(), "MiB are free at") {
		t.Error(err)
	}
	f.root = "/nowhere"
	if dir, err := v.roomFor(t.Context(), 1<<60); dir != "" || err != nil {
		t.Errorf("where nothing can be known: %q, %v", dir, err)
	}
}
