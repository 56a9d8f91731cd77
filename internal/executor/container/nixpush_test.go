package container_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/container"
	"gitlab.com/skerry/skerry/internal/executor/container/enginetest"
	"gitlab.com/skerry/skerry/internal/executor/container/nixdaemon"
	"gitlab.com/skerry/skerry/internal/nixstore/domain"
	"gitlab.com/skerry/skerry/internal/nixstore/nixtest"
)

// pushKey writes a secret key, and returns its file and the public one.
func pushKey(t *testing.T) (file, public string) {
	t.Helper()
	pub, secret, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte("test-1:"+base64.StdEncoding.EncodeToString(secret)), 0o600); err != nil {
		t.Fatal(err)
	}
	return file, "test-1:" + base64.StdEncoding.EncodeToString(pub)
}

// narinfo is where a cache in a directory describes a path.
func narinfo(cache, path string) string {
	hash, _, _ := strings.Cut(filepath.Base(path), "-")
	return filepath.Join(cache, hash+".narinfo")
}

func there(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// TestNixPush pushes what a protected job has built, and nothing of another, to a cache that real Nix takes it from.
func TestNixPush(t *testing.T) {
	t.Parallel()
	enginetest.NixBases(t)
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) {
		e.Load(t, enginetest.Image{Name: busybox})
		b := nixBench(t, e, enginetest.NixNew, domain.Protected)
		cache, take := t.TempDir(), func(string, string) {}
		if os.Getuid() == 0 { // a rootless engine's user cannot run a daemon of its own
			cache, take = takePushed(t)
		}
		key, public := pushKey(t)
		b.o.Nix.Path, b.o.Nix.Push = true, &nixdaemon.Push{To: "file://" + cache, Key: key}
		var paths atomic.Int64
		b.host.NixPushed = func(_ string, p nixdaemon.Pushed) { paths.Add(int64(p.Paths)) }
		open := b.prepare(t, b.o, theJob(""))
		stranger := open.script(executor.Build, made("open"))
		if err := open.env.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		j := theJob("")
		j.Git.Protected = true
		closed := b.prepare(t, b.o, j)
		path := closed.script(executor.Build, made("closed"))
		if err := closed.env.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the path is pushed", func() bool { return paths.Load() == 1 })
		if !there(narinfo(cache, path)) || there(narinfo(cache, stranger)) {
			t.Errorf("of the cache are there: the protected job's %t, the other's %t", there(narinfo(cache, path)), there(narinfo(cache, stranger)))
		}
		take(path, public)
	})
}

// takePushed returns a directory for a cache, and what has another store's daemon, which trusts the key, copy a path of it.
func takePushed(t *testing.T) (cache string, take func(path, public string)) {
	t.Helper()
	client := nixtest.New(t, "2.26")
	return filepath.Join(client.Dir, "cache"), func(path, public string) {
		client.WriteFile(t, "etc/nix.conf", "trusted-users =\nsandbox = false\nbuild-users-group =\nexperimental-features = nix-command\nsubstituters =\ntrusted-public-keys = "+public+"\n")
		client.Daemon(t)
		client.Must(t, nixtest.Direct(), "nix", "copy", "--from", "file:///mnt/cache", path)
		if got := client.Must(t, nixtest.Direct(), "cat", path); got != "closed" {
			t.Errorf("what was copied says %q", got)
		}
	}
}

// TestNixPushIsTriedAgain ends a process while the cache is away: another one pushes what is pending, which nothing collects
// before.
func TestNixPushIsTriedAgain(t *testing.T) {
	t.Parallel()
	enginetest.NixBases(t)
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) {
		e.Load(t, enginetest.Image{Name: busybox})
		b := nixBench(t, e, enginetest.NixNew, domain.Runner)
		cache := t.TempDir()
		var up atomic.Bool
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { serveCache(w, r, cache, up.Load()) }))
		t.Cleanup(server.Close)
		key, _ := pushKey(t)
		b.o.Nix.Path, b.o.Nix.Idle, b.o.Nix.Push, b.o.Nix.PushAll = true, time.Second, &nixdaemon.Push{To: server.URL, Key: key}, true
		failed := make(chan nixdaemon.Pushed, 100)
		b.host.NixPushed = func(_ string, p nixdaemon.Pushed) { failed <- p }
		job := b.prepare(t, b.o, theJob(""))
		path := job.script(executor.Build, made("late"))
		if err := job.env.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if p := <-failed; !p.Failed || p.Paths != 0 {
			t.Errorf("%+v", p)
		}
		name := b.host.NixStores(t.Context())[0].Name
		k, err := b.host.NixKeeper(name)
		if err != nil {
			t.Fatal(err)
		}
		now := time.Duration(0)
		if done, err := k.Collect(t.Context(), name, nixdaemon.Order{KeepFor: &now}); err != nil || strings.Contains(strings.Join(done.Paths, " "), path) {
			t.Errorf("what is to be pushed was collected: %+v, %v", done, err)
		}
		if err := b.host.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		up.Store(true)
		b.host = &container.Host{}
		if err := container.New(b.o, b.host, quiet(t)).Reconcile(t.Context(), b.owner, nil); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the path is pushed", func() bool { return there(narinfo(cache, path)) })
		eventually(t, "the daemon stops", func() bool { return b.stopped(t) })
	})
}

// serveCache is a cache in a directory that takes objects by PUT.
func serveCache(w http.ResponseWriter, r *http.Request, dir string, up bool) {
	switch {
	case !up:
		w.WriteHeader(http.StatusServiceUnavailable)
	case r.Method == http.MethodPut:
		at := filepath.Join(dir, filepath.Clean("/"+r.URL.Path))
		_ = os.MkdirAll(filepath.Dir(at), 0o755) //nolint:gosec // of a test
		f, err := os.Create(at)
		if err != nil {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		defer f.Close()
		if _, err := f.ReadFrom(r.Body); err != nil {
			w.WriteHeader(http.StatusBadRequest)
		}
	default:
		http.FileServer(http.Dir(dir)).ServeHTTP(w, r)
	}
}
