package nixpush

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// noise is a store whose archives do not compress; of one path nothing comes.
type noise struct{ silent string }

func (n noise) Open(ctx context.Context, p Path) (io.ReadCloser, error) {
	if p.Path != n.silent {
		return io.NopCloser(random(p.Size)), nil
	}
	r, w := io.Pipe()
	context.AfterFunc(ctx, func() { _ = w.CloseWithError(context.Cause(ctx)) })
	return r, nil
}

func random(size int64) io.Reader {
	return io.LimitReader(rand.New(rand.NewSource(1)), size) //nolint:gosec // no secret
}

func noisy(t *testing.T, digit string, size int64) Path {
	t.Helper()
	h := sha256.New()
	if _, err := io.Copy(h, random(size)); err != nil {
		t.Fatal(err)
	}
	return Path{Path: storeDir + "/" + strings.Repeat(digit, 32) + "-x", Hash: hex.EncodeToString(h.Sum(nil)), Size: size}
}

func aKey(t *testing.T) Key {
	t.Helper()
	_, secret, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return Key{name: "k", secret: secret}
}

// TestLeavesRoomToOthers has a path whose archive would fill the disk on which archives lie: it waits, and others do not.
func TestLeavesRoomToOthers(t *testing.T) {
	t.Parallel()
	large, small := noisy(t, "0", askEvery+1<<20), noisy(t, "1", 1)
	full := func(string) (free, total int64, err error) { return spare - 1, 1 << 40, nil }
	p := &Pusher{Cache: &directory{dir: t.TempDir()}, Key: aKey(t), Dir: t.TempDir(), measure: full}
	done, err := p.Push(t.Context(), noise{}, []Path{large, small})
	var refused *RefusedError
	if !errors.As(err, &refused) || !strings.Contains(err.Error(), p.Dir) || done.Paths != 1 || done.Left[large.Path] == nil {
		t.Errorf("%+v, %v", done, err)
	}
	p.measure = nil
	if done, err := p.Push(t.Context(), noise{}, []Path{small}); err != nil || len(done.Left) > 0 {
		t.Errorf("%+v, %v", done, err)
	}
}

// TestStoreStalls has a store of whose archive nothing comes any more.
func TestStoreStalls(t *testing.T) {
	t.Parallel()
	path := noisy(t, "0", 10)
	p := &Pusher{Cache: &directory{dir: t.TempDir()}, Key: aKey(t), patience: 20 * time.Millisecond}
	if done, err := p.Push(t.Context(), noise{silent: path.Path}, []Path{path}); !errors.Is(err, errStalled) || !strings.Contains(err.Error(), "archive") || done.Left[path.Path] == nil {
		t.Errorf("%+v, %v", done, err)
	}
}

// refusing is a cache that has nothing, and takes all but what is too large for it.
func refusing(t *testing.T, tooLarge func(*http.Request) bool) Cache {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method != http.MethodPut:
			w.WriteHeader(http.StatusNotFound)
		case tooLarge(r):
			w.WriteHeader(http.StatusRequestEntityTooLarge)
		}
	}))
	t.Cleanup(server.Close)
	c, err := openSite(server.URL, func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// manyPaths are more paths of a size than a cache may refuse in a row.
func manyPaths(t *testing.T, size int64) []Path {
	t.Helper()
	var paths []Path
	for i := range 3 * maxRefused {
		path := noisy(t, "0", size)
		path.Path = fmt.Sprintf("%s/%032d-x", storeDir, i)
		paths = append(paths, path)
	}
	return paths
}

// TestGivesUpWhenAllIsRefused has a server refuse each object for itself: it is not sent everything.
func TestGivesUpWhenAllIsRefused(t *testing.T) {
	t.Parallel()
	asked := 0
	c := refusing(t, func(r *http.Request) bool {
		archive := strings.HasPrefix(r.URL.Path, "/nar/")
		if archive {
			asked++ // one at a time
		}
		return archive
	})
	paths := manyPaths(t, 10)
	done, err := (&Pusher{Cache: c, Key: aKey(t)}).Push(t.Context(), noise{}, paths)
	if err == nil || asked != maxRefused+1 || len(done.Left) != len(paths) {
		t.Errorf("it was asked %d times, %d are left: %v", asked, len(done.Left), err)
	}
}

// TestManyTooLargeKeepBackNoSmallOne has more paths before a small one than a cache may refuse in a row, of which it takes none.
func TestManyTooLargeKeepBackNoSmallOne(t *testing.T) {
	t.Parallel()
	c := refusing(t, func(r *http.Request) bool { return r.ContentLength > 1000 })
	paths := manyPaths(t, 2000)
	small := noisy(t, "z", 10)
	done, err := (&Pusher{Cache: c, Key: aKey(t)}).Push(t.Context(), noise{}, append(paths, small))
	if err == nil || done.Paths != 1 || done.Left[small.Path] != nil || len(done.Left) != len(paths) {
		t.Errorf("%d are sent, %d are left, the small one: %v; %v", done.Paths, len(done.Left), done.Left[small.Path], err)
	}
}

// TestRemovesWhatTheKilledHaveLeft has files in a directory that pushers were writing.
func TestRemovesWhatTheKilledHaveLeft(t *testing.T) {
	t.Parallel()
	d := &directory{dir: t.TempDir()}
	long := time.Now().Add(-2 * leftFor)
	old, young, other := filepath.Join(d.dir, "nar", fresh+"1"), filepath.Join(d.dir, "nar", fresh+"2"), filepath.Join(d.dir, "nar", "x")
	if err := os.MkdirAll(filepath.Dir(old), 0o755); err != nil { //nolint:gosec // of a test
		t.Fatal(err)
	}
	for _, f := range []string{old, young, other} {
		if err := os.WriteFile(f, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(f, long, long); err != nil && f != young {
			t.Fatal(err)
		}
	}
	if err := os.Chtimes(young, time.Now(), time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := d.Put(t.Context(), "name", Object{Size: 1, Content: strings.NewReader("x")}); err != nil {
		t.Fatal(err)
	}
	for f, want := range map[string]bool{old: false, young: true, other: true} {
		if _, err := os.Stat(f); (err == nil) != want {
			t.Errorf("%s: %v", f, err)
		}
	}
}
