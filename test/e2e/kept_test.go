package e2e

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// keeper holds on to the outline and the spools of a runner's jobs by hard links, made as soon as the
// files appear, so that they can still be read when runner and agent have removed them.
type keeper struct {
	dir  string
	one  bool // all places have one directory
	stop chan struct{}
	done sync.WaitGroup
}

// errMissed says that a file came and went before it could be linked, as happens on a loaded machine:
// there is nothing to compare with, and the run has to be made again.
var errMissed = errors.New("a spool was gone before it was kept")

// keep begins to hold on to what the runner in r makes.
func keep(t *testing.T, r *runner) *keeper {
	t.Helper()
	k := &keeper{dir: filepath.Join(r.dir, "kept"), one: r.m.shell(), stop: make(chan struct{})}
	if err := os.Mkdir(k.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	k.done.Go(func() {
		for {
			k.link(r.stateDir())
			select {
			case <-k.stop:
				return
			case <-time.After(time.Millisecond):
			}
		}
	})
	t.Cleanup(k.end)
	return k
}

func (k *keeper) end() {
	select {
	case <-k.stop:
	default:
		close(k.stop)
	}
	k.done.Wait()
}

func (k *keeper) link(state string) {
	for _, pattern := range []string{"jobs/*/outline", "envs/*/*/stages/*/spool/*"} {
		files, _ := filepath.Glob(filepath.Join(state, pattern))
		for _, f := range files {
			rel, _ := filepath.Rel(state, f)
			_ = os.Link(f, filepath.Join(k.dir, strings.ReplaceAll(rel, "/", "!")))
		}
	}
}

// outline returns the one outline that was kept.
func (k *keeper) outline(t *testing.T) []byte {
	t.Helper()
	files, _ := filepath.Glob(filepath.Join(k.dir, "jobs!*!outline"))
	if len(files) != 1 {
		t.Fatalf("kept outlines: %v, want one", files)
	}
	b, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// placeDir is the directory of a place in an environment's.
func (k *keeper) placeDir(place string) string {
	if k.one {
		return "place"
	}
	return place
}

// spool returns the bytes of a stage's spool.
func (k *keeper) spool(place, stage string) ([]byte, error) {
	files, err := filepath.Glob(filepath.Join(k.dir, "envs!*!"+k.placeDir(place)+"!stages!"+stage+"!spool!*"))
	if err != nil {
		return nil, err
	}
	slices.SortFunc(files, func(a, b string) int { // segment-2 before segment-10
		return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
	})
	var out bytes.Buffer
	for _, f := range files {
		if strings.Contains(filepath.Base(f), "index") {
			continue
		}
		b, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		out.Write(b)
	}
	if out.Len() == 0 {
		return nil, fmt.Errorf("stage %s: %w", stage, errMissed)
	}
	return out.Bytes(), nil
}
