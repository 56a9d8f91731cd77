package container

import (
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gitlab.com/skerry/skerry/internal/executor/container/slot"
)

// copying is an environment of a job that has succeeded and whose images are copied, in the middle of which meanwhile is called.
func copying(t *testing.T, meanwhile func()) (*fakeEngine, *environment) {
	t.Helper()
	f, e := offering(t)
	f.nested = copied(func(http.ResponseWriter, *http.Request) { meanwhile() })
	v := draws(t, e)
	v.fresh, v.b.Nested.ImageID = true, "sha256:1"
	v.Bequeath(func() {})
	return f, v
}

// TestNobodyWaitsForACopy to have the network of a job whose images are copied: another one is made at once. Who waits for a network that is
// coming does so for at least as long as the pool says, on any machine.
func TestNobodyWaitsForACopy(t *testing.T) {
	t.Parallel()
	var pool *slot.Pool
	shortest := time.Hour
	_, v := copying(t, func() {
		for range 20 {
			from := time.Now()
			if _, there := pool.Take(t.Context()); there {
				t.Error("the job's network is given away")
			}
			if shortest = min(shortest, time.Since(from)); shortest < 100*time.Millisecond {
				return
			}
		}
	})
	pool = slot.NewPool(v.engine, slot.Kind{}, 1, time.Hour, v.log)
	v.pool, v.b.Slot = pool, "slot"
	pool.Coming("slot")
	if !v.offerKept(t.Context()) || shortest >= 100*time.Millisecond {
		t.Errorf("who needs a network waits for %s", shortest)
	}
}

// TestVolumesGoBeforeACopy which may take ten minutes.
func TestVolumesGoBeforeACopy(t *testing.T) {
	t.Parallel()
	var f *fakeEngine
	asked, freed := false, false
	f, v := copying(t, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if _, there := f.volumes["temporary"]; there {
			t.Error("a volume of the job is there as long as its images are copied")
		}
		if !freed {
			t.Error("its numbers are no other job's as long as its images are copied")
		}
		asked = true
	})
	f.volumes["temporary"] = nil
	v.Bequeath(func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if _, there := f.volumes["temporary"]; there {
			t.Error("its numbers are another job's while it has its volumes")
		}
		freed = true
	})
	v.b.Volumes = []volume{{Name: "temporary", Path: "/x", Temporary: true}}
	if err := v.close(t.Context()); err != nil {
		t.Error(err)
	}
	if !asked || len(f.containers) > 0 {
		t.Errorf("copied: %v; there are %v", asked, f.containers)
	}
}

// TestCopiersGoWithTheNextTry when the engine outside was away at the end of a copy: without it the job's volume could not be removed until
// the next start. What others have made by these names stays.
func TestCopiersGoWithTheNextTry(t *testing.T) {
	t.Parallel()
	f, v := copying(t, func() {})
	v.offered = true
	reader, maker := containerName(v.b.Ref, partReader), containerName(v.b.Ref, partMaker)
	f.containers[reader] = &fakeContainer{labels: ownLabels(v.b.Ref, partReader)}
	f.containers[maker] = &fakeContainer{labels: map[string]string{labelOwner: string(v.b.Ref.Owner)}}
	if err := v.removeNested(t.Context()); err != nil || f.get(reader) != nil || f.get(maker) == nil {
		t.Errorf("there are %v (%v)", f.containers, err)
	}
}

// TestFilesOfCopiersAreSwept has a runner that is not root remove what engines of other users have left in the directories of their sockets.
func TestFilesOfCopiersAreSwept(t *testing.T) {
	t.Parallel()
	const nobody = 65534
	if os.Geteuid() != 0 {
		t.Skip("it takes root to be two users")
	}
	f, e := offering(t)
	v := draws(t, e)
	v.b.Helper.Image = "sha256:1"
	places := []string{nestedDir, partReader, partMaker}
	for _, place := range places {
		if err := os.MkdirAll(filepath.Join(v.dir, place, nestedDir, "d", "e"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := filepath.WalkDir(filepath.Dir(e.o.Dir), func(path string, _ fs.DirEntry, err error) error {
		if err != nil || strings.Contains(path, nestedDir+"/d") {
			return err
		}
		return os.Lchown(path, nobody, nobody)
	}); err != nil {
		t.Fatal(err)
	}
	var swept []string
	f.ends = func(c *fakeContainer) bool { // as the agent does there, which is root
		for _, m := range c.made.Mounts {
			if place := filepath.Base(m.Source); slices.Contains(places, place) {
				swept = append(swept, place)
				if err := emptyDir(m.Source); err != nil {
					t.Error(err)
				}
			}
		}
		return true
	}
	runtime.LockOSThread() // the thread ends with the test
	defer func() { _, _ = unix.SetfsuidRetUid(0) }()
	_, _ = unix.SetfsuidRetUid(nobody)
	if uid, _ := unix.SetfsuidRetUid(nobody); uid != nobody { // what it was before
		t.Skip("it takes root of the machine to be two users")
	}
	if err := v.removeDir(t.Context()); err != nil {
		t.Error(err)
	}
	slices.Sort(swept)
	if want := []string{nestedDir, partMaker, partReader}; !slices.Equal(swept, want) {
		t.Errorf("swept are %q, want %q", swept, want)
	}
	if _, err := os.Lstat(v.dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is left: %v", err)
	}
}
