package nixpush_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/nixstore/nixpush"
)

// fake is a store in memory: archives by path.
type fake map[string][]byte

// Open implements nixpush.Source.
func (f fake) Open(_ context.Context, p nixpush.Path) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(f[p.Path])), nil
}

// chain is a store of n paths, each of which refers to the one before.
func chain(n int) (f fake, paths []nixpush.Path) {
	f = fake{}
	for i := range n {
		p := nixpush.Path{Path: fmt.Sprintf("/nix/store/%032d-p%d", i, i), Deriver: fmt.Sprintf("/nix/store/%032d-p%d.drv", 100+i, i)}
		f[p.Path] = []byte(strings.Repeat(p.Path, 100))
		sum := sha256.Sum256(f[p.Path])
		p.Hash, p.Size = hex.EncodeToString(sum[:]), int64(len(f[p.Path]))
		if i > 0 {
			p.References = []string{paths[i-1].Path, p.Path}
		}
		paths = append(paths, p)
	}
	return f, paths
}

// cut is a cache that fails at the nth Put, when it is written in half, and keeps the order of what comes.
type cut struct {
	nixpush.Cache

	after int
	mu    sync.Mutex
	names []string
}

var errCut = errors.New("the cable was cut")

func (c *cut) Put(ctx context.Context, name string, o nixpush.Object) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.after--; c.after < 0 {
		return errCut
	}
	c.names = append(c.names, name)
	return c.Cache.Put(ctx, name, o)
}

// whole fails unless all that a directory describes is there, with all that it refers to.
func whole(t *testing.T, dir string) (paths int) {
	t.Helper()
	infos, err := filepath.Glob(filepath.Join(dir, "*.narinfo"))
	if err != nil {
		t.Fatal(err)
	}
	for _, info := range infos {
		raw, err := os.ReadFile(info)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(raw)) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
			var needed []string
			switch key {
			case "URL":
				needed = []string{value}
			case "References":
				for r := range strings.FieldsSeq(value) {
					hash, _, _ := strings.Cut(r, "-")
					needed = append(needed, hash+".narinfo")
				}
			}
			for _, n := range needed {
				if _, err := os.Stat(filepath.Join(dir, n)); err != nil {
					t.Errorf("%s needs %s, which is not there", filepath.Base(info), n)
				}
			}
		}
	}
	return len(infos)
}

// TestGoesOnWhereItWasCut has a push end at each of its writes: what is there can be used at any time, and the next push sends
// the rest.
func TestGoesOnWhereItWasCut(t *testing.T) {
	t.Parallel()
	f, paths := chain(4)
	const writes = 1 + 4*2
	for after := range writes + 1 {
		dir := t.TempDir()
		c := &cut{Cache: open(t, "file://"+dir), after: after}
		p := &nixpush.Pusher{Cache: c, Key: newKey(t, "k")}
		done, err := p.Push(t.Context(), f, paths)
		if errors.Is(err, errCut) != (after < writes) {
			t.Fatal(after, err)
		}
		if n := whole(t, dir); n != done.Paths {
			t.Errorf("after %d writes %d paths are there, and %d are said to be", after, n, done.Paths)
		}
		c.after = 100
		rest, err := p.Push(t.Context(), f, paths)
		if err != nil || done.Paths+rest.Paths != len(paths) || whole(t, dir) != len(paths) {
			t.Errorf("after %d writes: %+v, %v", after, rest, err)
		}
		slices.Sort(c.names)
		if len(slices.Compact(c.names)) != writes || len(c.names) != writes {
			t.Errorf("after %d writes something was sent twice: %q", after, c.names)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, "nar", ".new*")); len(left) > 0 {
			t.Errorf("%q are left", left)
		}
	}
}

// TestTwoPushAtOnce has several pushers push the same to one cache.
func TestTwoPushAtOnce(t *testing.T) {
	t.Parallel()
	f, paths := chain(20)
	dir := t.TempDir()
	var pushing sync.WaitGroup
	for range 4 {
		key := newKey(t, "k")
		pushing.Go(func() {
			p := &nixpush.Pusher{Cache: open(t, "file://"+dir), Key: key}
			if _, err := p.Push(t.Context(), f, paths); err != nil {
				t.Error(err)
			}
		})
	}
	pushing.Wait()
	if n := whole(t, dir); n != len(paths) {
		t.Errorf("%d of %d paths are there", n, len(paths))
	}
}

// TestLeavesOutWhatIsDamaged pushes neither what is not what the database says, nor what refers to it.
func TestLeavesOutWhatIsDamaged(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func([]byte) []byte{
		"changed": func(b []byte) []byte { return append([]byte("x"), b[1:]...) }, "longer": func(b []byte) []byte { return append(slices.Clone(b), 'x') },
	} {
		f, paths := chain(4)
		f[paths[2].Path] = damage(f[paths[2].Path])
		dir := t.TempDir()
		p := &nixpush.Pusher{Cache: open(t, "file://"+dir), Key: newKey(t, "k")}
		done, err := p.Push(t.Context(), f, paths)
		if err != nil || done.Paths != 2 {
			t.Errorf("%s: %+v, %v", name, done, err)
		}
		if diff := cmp.Diff([]string{paths[2].Path, paths[3].Path}, slices.Sorted(maps.Keys(done.Bad))); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		whole(t, dir)
	}
	f, paths := chain(1)
	f[paths[0].Path] = f[paths[0].Path][:10] // it ended early: that may be another time
	p := &nixpush.Pusher{Cache: open(t, "file://"+t.TempDir()), Key: newKey(t, "k")}
	if done, err := p.Push(t.Context(), f, paths); !errors.Is(err, io.ErrUnexpectedEOF) || len(done.Bad) > 0 {
		t.Errorf("%+v, %v", done, err)
	}
}

// TestSignaturesAreOneLine pushes a path to which a job has given signatures that are none: a cache says nothing of them.
func TestSignaturesAreOneLine(t *testing.T) {
	t.Parallel()
	f, paths := chain(1)
	good := "other-1:" + strings.Repeat("A", 86) + "=="
	paths[0].Signatures = []string{good, good + "\nURL: http://evil.example/x", "x\nCA: y", "x", "a b:" + strings.Repeat("A", 86) + "==", "x:" + strings.Repeat("A", 43) + "\n" + strings.Repeat("A", 43) + "==", "x:AA=="}
	dir := t.TempDir()
	if _, err := (&nixpush.Pusher{Cache: open(t, "file://"+dir), Key: newKey(t, "k")}).Push(t.Context(), f, paths); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, strings.Repeat("0", 32)+".narinfo"))
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for line := range strings.Lines(string(raw)) {
		key, _, _ := strings.Cut(line, ": ")
		keys = append(keys, key)
	}
	want := []string{"StorePath", "URL", "Compression", "FileHash", "FileSize", "NarHash", "NarSize", "References", "Deriver", "Sig", "Sig"}
	if diff := cmp.Diff(want, keys); diff != "" || !strings.Contains(string(raw), "\nSig: "+good+"\n") {
		t.Errorf("%s\n%s", diff, raw)
	}
}

// TestKeyIsNotShown prints a key in all ways that logs have.
func TestKeyIsNotShown(t *testing.T) {
	t.Parallel()
	k := newKey(t, "k")
	for _, text := range []string{fmt.Sprintf("%v", k), fmt.Sprintf("%+v", k), fmt.Sprintf("%#v", k), fmt.Sprint(&k)} {
		if text != k.Public() {
			t.Errorf("it is shown as %q", text)
		}
	}
	if _, err := nixpush.ParseKey(k.Public()); err == nil || !strings.Contains(err.Error(), "public key k") {
		t.Error(err)
	}
}
