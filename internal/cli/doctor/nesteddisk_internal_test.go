package doctor

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/config"
)

// TestNestedBounds has no more engines of jobs than jobs run at once, and the largest of them.
func TestNestedBounds(t *testing.T) {
	t.Parallel()
	runner := func(limit int, nested, disk string) *config.Runner {
		return &config.Runner{Limit: limit, Docker: &config.Docker{Nested: nested, NestedDisk: disk}}
	}
	s := &session{loaded: &config.Config{Concurrent: 4}}
	e := &engine{runners: []*config.Runner{
		runner(0, "podman", "17MB"), runner(0, "podman", "50%"), runner(2, "podman", "16MB"), runner(1, "podman", "-1"), runner(0, "off", "20GB"),
	}}
	if diff := cmp.Diff([]uint64{17 << 20, 17 << 20, 17 << 20, 17 << 20}, s.nestedBounds(e)); diff != "" {
		t.Error(diff)
	}
	e.runners = e.runners[1:]
	if diff := cmp.Diff([]uint64{16 << 20, 16 << 20}, s.nestedBounds(e)); diff != "" {
		t.Error(diff)
	}
}

func TestNestedShare(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		nested, disk string
		want         bool
	}{{"podman", "50%", true}, {"podman", "20GB", false}, {"podman", "-1", false}, {"shared", "50%", false}} {
		if got := nestedShare(&config.Runner{Docker: &config.Docker{Nested: c.nested, NestedDisk: c.disk}}); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}
