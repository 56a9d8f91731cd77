package nixdaemon

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/nixstore/nixd"
	"gitlab.com/skerry/skerry/internal/nixstore/nixd/worker"
	"gitlab.com/skerry/skerry/internal/nixstore/nixwire"
)

// queues are what the daemons of a script have to push.
type queues struct {
	orders

	mu     sync.Mutex
	queue  []string          // paths
	bad    map[string]string // of these
	told   []nixd.Over
	fails  error
	broken bool // archives end early
}

const built = "/nix/store/00000000000000000000000000000000-built"

func content(path string) []byte { return []byte("the archive of " + path) }

func (q *queues) answer(container, command string, args []string) (any, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch command {
	case nixd.CommandQueue:
		if q.fails != nil {
			return nil, q.fails
		}
		var o nixd.Over
		if err := json.Unmarshal([]byte(args[0]), &o); err != nil {
			return nil, err
		}
		q.told = append(q.told, o)
		p := nixd.Pending{Queue: q.queue, Bad: q.bad}
		for _, path := range q.queue {
			if q.bad[path] != "" {
				continue
			}
			sum := sha256.Sum256(content(path))
			p.Paths = append(p.Paths, worker.Info{Path: path, Hash: hex.EncodeToString(sum[:]), Size: int64(len(content(path))), Built: true})
		}
		return p, nil
	case nixd.CommandPushed:
		q.queue = nil
		return len(args), nil
	default:
		return q.orders.answer(container, command, args)
	}
}

// attach writes archives as the command does.
func (q *queues) attach(context.Context, Spec, ...string) (io.ReadWriteCloser, error) {
	ask, asked := io.Pipe()
	answered, answer := io.Pipe()
	go func() {
		defer answer.Close()
		raw := make([]byte, 1000)
		for {
			n, err := ask.Read(raw)
			if err != nil {
				return
			}
			w := nixwire.NewWriter(answer, 4096)
			f := nixwire.NewFrameWriter(w)
			_, _ = f.Write(content(strings.TrimSpace(string(raw[:n])))) // Flush tells
			q.mu.Lock()
			broken := q.broken
			q.mu.Unlock()
			if broken {
				_ = w.Flush()
				return
			}
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

// pushes are the pushes that a keeper tells of.
type pushes chan Pushed

func (p pushes) told(_ string, one Pushed) { p <- one }

// pushing is a spec whose builds are pushed to a directory.
func pushing(t *testing.T) (s Spec, cache string) {
	t.Helper()
	const key = "k:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8DoQe/884Qvh1w3RjnS8CZZ+TWMJulDV8d3IZkElUxuA=="
	s = spec("a", Policy{})
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte(key), 0o600); err != nil {
		t.Fatal(err)
	}
	cache = filepath.Join(t.TempDir(), "cache")
	s.Push = &Push{To: "file://" + cache, Key: file}
	return s, cache
}

func useOnce(t *testing.T, k *Keeper, s Spec) {
	t.Helper()
	done := k.Use(s)
	if _, err := k.Ensure(t.Context(), s, "id"); err != nil {
		t.Fatal(err)
	}
	done()
	k.Over(s.Domain, "job")
}

func there(cache, path string) bool {
	_, err := os.Stat(filepath.Join(cache, filepath.Base(path)[:32]+".narinfo"))
	return err == nil
}

// TestPushesAfterAJob pushes what a job has built once it is over, and from no store that is not to be pushed from.
func TestPushesAfterAJob(t *testing.T) {
	t.Parallel()
	q, told := &queues{queue: []string{built}}, make(pushes, 10)
	s := &script{answer: q.answer}
	k := s.keeper(t, Options{Tend: time.Hour, Live: func(string) ([]string, error) { return []string{"live"}, nil }, Pushed: told.told})
	k.attach = q.attach
	other := spec("b", Policy{})
	useOnce(t, k, other)
	a, cache := pushing(t)
	useOnce(t, k, a)
	if p := <-told; p.Paths != 1 || p.Bytes == 0 || p.Failed || p.Left != 0 || !there(cache, built) {
		t.Errorf("%+v, %t", p, there(cache, built))
	}
	if did := s.done("queue b", "release b"); len(did) > 0 {
		t.Errorf("%q", did)
	}
	q.mu.Lock()
	if first := q.told[0]; !cmp.Equal(first.Jobs, []string{"job"}) || !cmp.Equal(first.Live, []string{"live"}) || first.AsOf.IsZero() {
		t.Errorf("%+v", first)
	}
	q.mu.Unlock()
	if _, err := k.Collect(t.Context(), "a", Order{}); err != nil || !q.all()[0].Push {
		t.Errorf("a collection does not heed what is to be pushed: %+v, %v", q.all(), err)
	}
}

// TestPushesWhatAnotherHasQueued has something else than a push put what a job has built into the queue, when no push comes any
// more that would look.
func TestPushesWhatAnotherHasQueued(t *testing.T) {
	t.Parallel()
	q, told := &queues{}, make(pushes, 10)
	s := &script{answer: q.answer}
	k := s.keeper(t, Options{Tend: time.Hour, Pushed: told.told})
	k.attach = q.attach
	a, cache := pushing(t)
	useOnce(t, k, a)
	if p := <-told; p.Paths != 0 || p.Failed {
		t.Fatalf("%+v", p)
	}
	q.mu.Lock()
	q.queue = []string{built}
	q.mu.Unlock()
	k.mu.Lock()
	k.domains["a"].over = []string{"other"} // of which the push has not heard
	k.mu.Unlock()
	k.Stores(t.Context())
	select {
	case p := <-told:
		if p.Paths != 1 || !there(cache, built) {
			t.Errorf("%+v", p)
		}
	case <-time.After(3 * time.Minute):
		t.Error("it is not pushed")
	}
}

// TestPushesBesideWhatCannotBe has a path in the queue that is not whole: the others are pushed, and it is named once.
func TestPushesBesideWhatCannotBe(t *testing.T) {
	t.Parallel()
	const bad = "/nix/store/11111111111111111111111111111111-bad"
	var log lines
	q, told := &queues{queue: []string{bad, built}, bad: map[string]string{bad: "something is not in the store"}}, make(pushes, 10)
	s := &script{answer: q.answer}
	k := s.keeper(t, Options{Tend: time.Hour, Log: slog.New(slog.NewTextHandler(&log, nil)), Pushed: told.told})
	k.attach = q.attach
	a, cache := pushing(t)
	useOnce(t, k, a)
	if p := <-told; p.Paths != 1 || p.Failed || p.Left != 0 || !there(cache, built) || there(cache, bad) {
		t.Errorf("%+v", p)
	}
	if got := log.count("path=" + bad + " error=\"something is not in the store\""); got != 1 {
		t.Errorf("it is named %d times: %s", got, log.String())
	}
}

// TestPushIsTriedAgain has pushes fail in each of the ways that pass.
func TestPushIsTriedAgain(t *testing.T) {
	t.Parallel()
	var log lines
	q, told := &queues{queue: []string{built}, fails: errors.New("no room"), broken: true}, make(pushes, 1000)
	s := &script{answer: q.answer}
	k := s.keeper(t, Options{Tend: time.Millisecond, Log: slog.New(slog.NewTextHandler(&log, nil)), Pushed: told.told})
	k.attach = q.attach
	a, cache := pushing(t)
	key, err := os.ReadFile(a.Push.Key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(a.Push.Key, []byte("k:none"), 0o600); err != nil {
		t.Fatal(err)
	}
	useOnce(t, k, a)
	failed := func(why string) {
		t.Helper()
		for {
			if p := <-told; !p.Failed || p.Paths != 0 {
				t.Fatalf("%s: %+v", why, p)
			}
			if strings.Contains(log.String(), why) {
				return
			}
		}
	}
	failed("push_key_file")
	if did := s.done("queue"); len(did) > 0 {
		t.Errorf("without a key it comes to %q", did)
	}
	if err := os.WriteFile(a.Push.Key, key, 0o600); err != nil {
		t.Fatal(err)
	}
	failed("no room")
	q.mu.Lock()
	if len(q.told) > 0 {
		t.Errorf("%+v", q.told)
	}
	q.fails = nil
	q.mu.Unlock()
	failed("unexpected EOF")
	if there(cache, built) {
		t.Error("half a path was pushed")
	}
	q.mu.Lock()
	q.broken = false
	if !cmp.Equal(q.told[0].Jobs, []string{"job"}) {
		t.Errorf("the job was forgotten: %+v", q.told)
	}
	q.mu.Unlock()
	for p := range told {
		if !p.Failed {
			if p.Paths != 1 || !there(cache, built) {
				t.Errorf("%+v", p)
			}
			break
		}
	}
	if bytes.Contains([]byte(log.String()), []byte(base64.StdEncoding.EncodeToString(key)[:8])) || strings.Contains(log.String(), "AAECAwQF") {
		t.Error("the key is in the log")
	}
}
