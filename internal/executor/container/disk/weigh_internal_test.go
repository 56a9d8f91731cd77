package disk

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
)

// What a job's own engine keeps counts as it grows, and goes with the job alone.
func TestVolumesOfRunningJobsCountAndStay(t *testing.T) {
	t.Parallel()
	k := New(Options{Path: filepath.Join(t.TempDir(), "l.json"), Now: func() time.Time { return at(1) }})
	defer k.Close()
	dir := t.TempDir()
	volumes := []engineapi.StoredVolume{{Name: "store", Labels: map[string]string{labelRef: "r"}, Created: at(0), Mountpoint: dir}}
	s := &sweep{k: k}
	var before int64
	for range 3 {
		if err := os.WriteFile(filepath.Join(dir, "layer"), make([]byte, before+100_000), 0o600); err != nil {
			t.Fatal(err)
		}
		if !s.weighHere(t.Context(), volumes) {
			t.Fatal("the volume was not weighed")
		}
		items := k.volumes(volumes)
		if got := total(items); got <= before || len(order(items)) > 0 || len(expired(items, time.Hour, at(100))) > 0 {
			t.Errorf("it counts as %d bytes after %d, to be evicted: %v", got, before, order(items))
		} else {
			before = got
		}
	}
}

func TestWeigh(t *testing.T) {
	t.Parallel()
	dir, outside := t.TempDir(), t.TempDir()
	write := func(path string) {
		t.Helper()
		if err := os.WriteFile(path, make([]byte, 1<<20), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(filepath.Join(dir, "a"))
	write(filepath.Join(dir, "sub", "b"))
	write(filepath.Join(outside, "c"))
	if err := os.Link(filepath.Join(dir, "a"), filepath.Join(dir, "sub", "same")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "out")); err != nil {
		t.Fatal(err)
	}
	bytes, whole := weigh(t.Context(), dir)
	if !whole || bytes < 2<<20 || bytes > 2<<20+1<<16 {
		t.Errorf("%d bytes, whole: %t; two files of a MiB", bytes, whole)
	}
	if _, whole := weigh(t.Context(), filepath.Join(dir, "nowhere")); whole {
		t.Error("a directory that is not there was weighed")
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, whole := weigh(ended, dir); whole {
		t.Error("a look that was given up is whole")
	}
}

// TestWeighIsBounded gives up in a directory of any number of files, and does not wait for what a job has put in one's place.
func TestWeighIsBounded(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for n := range 3 * readAtOnce {
		if err := os.Mkdir(filepath.Join(dir, strconv.Itoa(n)), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	other := t.TempDir()
	if err := errors.Join(syscall.Mkfifo(filepath.Join(other, "pipe"), 0o600), os.WriteFile(filepath.Join(other, "file"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	looking := func(dir string) *weighing {
		root, err := os.OpenRoot(dir)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = root.Close() })
		return &weighing{root: root, linked: map[uint64]bool{}}
	}
	for _, name := range []string{"pipe", "file", "never"} {
		if w := looking(other); w.look(t.Context(), name) != nil || w.bytes > 0 {
			t.Errorf("%s, which was a directory, is %d bytes or an error", name, w.bytes)
		}
	}
	w := looking(dir)
	if err := w.look(&countdown{Context: t.Context(), left: 2}, "."); err == nil || len(w.below) != 2*readAtOnce {
		t.Errorf("%v after %d entries, when the time was over after %d", err, len(w.below), 2*readAtOnce)
	}
}

// countdown is a context that has ended when it has been asked some times.
type countdown struct {
	context.Context

	left int
}

func (c *countdown) Err() error {
	if c.left--; c.left < 0 {
		return context.DeadlineExceeded
	}
	return nil
}

// TestLargeVolumesKeepNoneFromBeingEvicted: a volume that a running job has filled with any number of files is given up, and
// counts as before; those that were not reached are first the next time.
func TestLargeVolumesKeepNoneFromBeingEvicted(t *testing.T) {
	t.Parallel()
	now := at(10)
	k := New(Options{Path: filepath.Join(t.TempDir(), "l.json"), Now: func() time.Time { return now }, Log: slog.New(slog.DiscardHandler)})
	defer k.Close()
	s := &sweep{k: k}
	var volumes []engineapi.StoredVolume
	for _, name := range []string{"a", "b", "cache"} {
		v := engineapi.StoredVolume{Name: name, Labels: map[string]string{labelRef: name}, Mountpoint: t.TempDir()}
		if name == "cache" {
			v.Labels = nil
		}
		if err := os.WriteFile(filepath.Join(v.Mountpoint, "f"), make([]byte, 100_000), 0o600); err != nil {
			t.Fatal(err)
		}
		k.ledger.data.Volumes[name] = at(0)
		volumes = append(volumes, v)
	}
	look := func(each, all time.Duration) map[string]bool {
		t.Helper()
		now = now.Add(time.Hour)
		k.eachTime, k.allTime = each, all
		if !s.weighHere(t.Context(), volumes) {
			t.Fatal("the rest of the time went by with volumes")
		}
		cut := map[string]bool{}
		for name, w := range k.sizes {
			cut[name] = w.cut
		}
		return cut
	}
	first := func() string { return s.toWeigh(volumes)[0].Name }
	if diff := cmp.Diff(map[string]bool{"a": true, "b": true, "cache": true}, look(-1, time.Hour)); diff != "" {
		t.Errorf("without time: %s", diff)
	}
	if diff := cmp.Diff(map[string]bool{"a": false, "b": false, "cache": false}, look(time.Hour, time.Hour)); diff != "" {
		t.Errorf("with enough time: %s", diff)
	}
	before := total(k.volumes(volumes))
	if diff := cmp.Diff(map[string]bool{"a": true, "b": true, "cache": false}, look(-1, time.Hour)); diff != "" {
		t.Errorf("what jobs have had since: %s", diff)
	}
	if got := total(k.volumes(volumes)); before < 300_000 || got != before {
		t.Errorf("they count as %d bytes, and as %d when the time was too short", before, got)
	}
	k.sizes["a"] = weight{at: now.Add(time.Minute)}
	if look(time.Hour, -1); first() != "b" {
		t.Errorf("%s is first, which was looked at last", first())
	}
}
