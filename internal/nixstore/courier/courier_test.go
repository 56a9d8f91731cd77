package courier_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/nixstore/courier"
	"gitlab.com/skerry/skerry/internal/nixstore/nixd"
	"gitlab.com/skerry/skerry/internal/nixstore/nixd/worker"
	"gitlab.com/skerry/skerry/internal/nixstore/nixwire"
)

// store is a store in memory: the references of each path, whose archive is its name.
type store struct {
	refs  map[string][]string
	queue []string
	awake int
	woken int
}

func (s *store) Wake(context.Context) (func(), error) {
	s.awake, s.woken = s.awake+1, s.woken+1
	return func() { s.awake-- }, nil
}

func (s *store) Queue(context.Context) (nixd.Pending, error) {
	p := nixd.Pending{Queue: slices.Clone(s.queue)}
	var add func(string)
	add = func(path string) {
		if slices.ContainsFunc(p.Paths, func(i worker.Info) bool { return i.Path == path }) {
			return
		}
		for _, r := range s.refs[path] {
			add(r)
		}
		sum := sha256.Sum256([]byte(path))
		p.Paths = append(p.Paths, worker.Info{Path: path, Hash: hex.EncodeToString(sum[:]), Size: int64(len(path)), References: s.refs[path]})
	}
	for _, path := range s.queue {
		add(path)
	}
	return p, nil
}

func (s *store) Pushed(_ context.Context, paths []string) error {
	s.queue = slices.DeleteFunc(s.queue, func(p string) bool { return slices.Contains(paths, p) })
	return nil
}

func (s *store) Archives(context.Context) (io.ReadWriteCloser, error) {
	ask, asked := io.Pipe()
	answered, answer := io.Pipe()
	go func() {
		defer answer.Close()
		for lines := bufio.NewScanner(ask); lines.Scan(); {
			w := nixwire.NewWriter(answer, 4096)
			f := nixwire.NewFrameWriter(w)
			_, _ = f.Write(lines.Bytes()) // Flush tells
			f.End()
			w.String("")
			if w.Flush() != nil {
				return
			}
		}
	}()
	return both{answered, asked}, nil
}

type both struct {
	*io.PipeReader
	asked *io.PipeWriter
}

func (b both) Write(p []byte) (int, error) { return b.asked.Write(p) }
func (b both) Close() error                { return errors.Join(b.asked.Close(), b.PipeReader.Close()) }

// cache is a server whose answers to what is PUT may be others than that it is taken.
type cache struct {
	mu   sync.Mutex
	have map[string]string
	says func(name string) int // 0: it is taken
}

func (c *cache) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	raw, _ := io.ReadAll(r.Body)
	c.mu.Lock()
	defer c.mu.Unlock()
	name := strings.TrimPrefix(r.URL.Path, "/")
	if r.Method == http.MethodPut {
		if code := c.says(name); code != 0 {
			w.WriteHeader(code)
			return
		}
		c.have[name] = string(raw)
		return
	}
	content, there := c.have[name]
	if !there {
		w.WriteHeader(http.StatusNotFound)
	}
	_, _ = io.WriteString(w, content)
}

func path(digit, name string) string {
	return "/nix/store/" + strings.Repeat(digit, 32) + "-" + name
}

func info(path string) string { return filepath.Base(path)[:32] + ".narinfo" }

func key(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "key")
	const text = "k:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8DoQe/884Qvh1w3RjnS8CZZ+TWMJulDV8d3IZkElUxuA=="
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestTakesOutOfTheQueueWhatIsPushed has a cache refuse one path for good, and then all: what has come there is not asked for
// again, what has not stays in the queue, and one that is too large does not keep others back.
func TestTakesOutOfTheQueueWhatIsPushed(t *testing.T) {
	t.Parallel()
	base, large, above, other, last := path("0", "base"), path("1", "large"), path("2", "above"), path("3", "other"), path("4", "last")
	all := []string{above, base, last, other}
	for name, c := range map[string]struct {
		says func(name string) int
		left []string
		want string
	}{
		"one is too large": {func(name string) int {
			if name == info(large) {
				return http.StatusRequestEntityTooLarge
			}
			return 0
		}, []string{above}, "413"},
		"the disk is full in the end": {func(name string) int {
			if name == info(last) {
				return http.StatusInsufficientStorage
			}
			return 0
		}, []string{last, other}, "507"},
		"the login is refused": {func(string) int { return http.StatusForbidden }, all, "NETRC"},
		"all is well":          {func(string) int { return 0 }, nil, ""},
	} {
		s := &store{refs: map[string][]string{above: {large, base}, large: {base}, other: {last}}, queue: slices.Clone(all)}
		server := &cache{have: map[string]string{}, says: c.says}
		at := httptest.NewServer(server)
		by := &courier.Courier{Name: "s", Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
		done, err := by.Push(t.Context(), courier.Route{To: at.URL, Key: key(t)}, s, 9)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(c.left, slices.Clone(s.queue)); len(s.queue)+len(c.left) > 0 && diff != "" {
			t.Errorf("%s: in the queue: %s", name, diff)
		}
		if done.Left != len(c.left) || done.Failed != (err != nil) || s.awake != 0 {
			t.Errorf("%s: %+v", name, done)
		}
		for _, p := range all {
			if _, there := server.have[info(p)]; there == slices.Contains(c.left, p) {
				t.Errorf("%s: %s is there: %t", name, p, there)
			}
		}
		server.says = func(string) int { return 0 }
		if done, err := by.Push(t.Context(), courier.Route{To: at.URL, Key: key(t)}, s, 9); err != nil || done.Left != 0 || len(s.queue) > 0 {
			t.Errorf("%s, later: %+v, %v", name, done, err)
		}
		at.Close()
	}
}

// TestAsksNoStoreForACacheThatIsNone has something else answer at the cache's address: whatever that says it has, nothing was
// ever pushed there.
func TestAsksNoStoreForACacheThatIsNone(t *testing.T) {
	t.Parallel()
	for said, want := range map[string]string{
		"<html>Log in":              "StoreDir",
		"":                          "StoreDir",
		"StoreDir: /gnu/store\n":    "/gnu/store",
		"StoreDir: /nix/store\n":    "",
		"X: y\nStoreDir:/nix/store": "",
	} {
		built := path("0", "built")
		s := &store{queue: []string{built}}
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, said) }))
		by := &courier.Courier{Name: "s", Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
		done, err := by.Push(t.Context(), courier.Route{To: server.URL, Key: key(t)}, s, 1)
		server.Close()
		if want == "" {
			if err != nil || len(s.queue) > 0 {
				t.Errorf("%q: %v, %q", said, err, s.queue)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), want) || !done.Failed || done.Left != 1 || s.woken > 0 || len(s.queue) != 1 {
			t.Errorf("%q: %+v, %v, woken %d times, the queue %q", said, done, err, s.woken, s.queue)
		}
	}
}
