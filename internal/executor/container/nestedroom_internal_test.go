package container

import (
	"math"
	"strings"
	"testing"

	"gitlab.com/skerry/skerry/internal/agent/nested"
	"gitlab.com/skerry/skerry/internal/executor/container/generations"
)

func TestNoRoomForImages(t *testing.T) {
	t.Parallel()
	f, e := offering(t)
	f.root = t.TempDir()
	v := draws(t, e)
	if _, _, err := v.roomFor(t.Context(), 1<<60); err == nil || !strings.Contains(err.Error(), "MiB are free") {
		t.Error(err)
	}
	e.host.OfferReserve = math.MaxInt64
	if _, _, err := v.roomFor(t.Context(), 1); err == nil {
		t.Error("what is to be left alone is taken")
	}
	f.root = "/nowhere"
	if dir, r, err := v.roomFor(t.Context(), 1<<30); dir != "" || r.Bytes != 5<<30 || err != nil {
		t.Errorf("where nothing can be known: %q, %+v, %v", dir, r, err)
	}
}

// TestEnginesThatCopyAreBounded whatever the job has said of the size of its images.
func TestEnginesThatCopyAreBounded(t *testing.T) {
	t.Parallel()
	_, e := offering(t)
	for bound, want := range map[nested.Bound]nested.Bound{
		{Bytes: 1 << 30}: {Bytes: 1<<30 + generations.MaxBytes + generations.MaxBytes/8}, {Percent: 50}: {Percent: 50}, {}: {},
	} {
		e.o.Nested.Disk = bound
		v := draws(t, e)
		v.bound = readerBound(v.diskBound())
		if got := v.diskBound(); got != want {
			t.Errorf("with %s of a job the engine that is read from has %+v, want %+v", bound, got, want)
		}
	}
}
