package files_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/stage"
	"gitlab.com/skerry/skerry/internal/stage/stagetest"
)

// cacheBed is a project and a local tier.
type cacheBed struct {
	*stagetest.Place
	dir, store string
}

func newCacheBed(t *testing.T, names ...string) *cacheBed {
	t.Helper()
	b := &cacheBed{Place: stagetest.New(t), dir: tree(t, names...), store: filepath.Join(t.TempDir(), "cache")}
	if err := os.Mkdir(b.store, 0o755); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *cacheBed) file(key string) stage.CacheFile {
	return stage.CacheFile{Key: key, Path: filepath.Join(b.store, "group/project", key, "cache"), Root: b.store}
}

func (b *cacheBed) save(t *testing.T, key, format string, f stage.Files) (stage.Result, string) {
	t.Helper()
	b.Out.Take()
	res := b.Run(t, &stage.Spec{ID: "save", Dir: b.dir, SaveCache: &stage.SaveCache{Caches: []stage.CacheTo{
		{CacheFile: b.file(key), Files: f, Format: format, Level: "default"},
	}}})
	return res, plainLog(b.Out.Take(), b.dir)
}

func (b *cacheBed) restore(t *testing.T, keys ...string) (stage.Result, string) {
	t.Helper()
	var from stage.CacheFrom
	for _, k := range keys {
		from.Candidates = append(from.Candidates, b.file(k))
	}
	b.Out.Take()
	res := b.Run(t, &stage.Spec{ID: "restore", Dir: b.dir, RestoreCache: &stage.RestoreCache{Caches: []stage.CacheFrom{from}, Attempts: 2}})
	return res, plainLog(b.Out.Take(), b.dir)
}

const (
	noUpload   = "No URL provided, cache will not be uploaded to shared cache server. Cache will be stored only locally.\n"
	noDownload = "No URL provided, cache will not be downloaded from shared cache server. Instead a local version of cache will be extracted.\n"
)

func TestCache(t *testing.T) {
	t.Parallel()
	for format, suffix := range map[string]string{"zip": ".zip", "tarzstd": ".tar.zst", "": ".zip"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			b := newCacheBed(t, "vendor/a", "vendor/sub/b", "other")
			res, log := b.save(t, "key one", format, stage.Files{Paths: []string{"vendor"}})
			if res.Reason != stage.Success || len(res.Caches) != 1 || res.Caches[0].Bytes == 0 {
				t.Fatalf("result = %+v", res)
			}
			want := "Creating cache key one...\nvendor: found 4 matching artifact files and directories\n" + noUpload + "Created cache\n"
			if diff := cmp.Diff(want, log); diff != "" {
				t.Errorf("log differs (-want +got):\n%s", diff)
			}
			if st, err := os.Stat(b.file("key one").Path + suffix); err != nil || st.Mode().Perm() != 0o600 {
				t.Errorf("archive: %v, %v", st, err)
			}
			if err := os.RemoveAll(filepath.Join(b.dir, "vendor")); err != nil {
				t.Fatal(err)
			}
			res, log = b.restore(t, "key one", "never")
			if diff := cmp.Diff([]stage.CacheResult{{Key: "key one", Hit: true, Bytes: res.Caches[0].Bytes}}, res.Caches); diff != "" {
				t.Errorf("result differs (-want +got):\n%s", diff)
			}
			want = "Checking cache for key one...\n" + noDownload + "Successfully extracted cache\n"
			if diff := cmp.Diff(want, log); diff != "" {
				t.Errorf("log differs (-want +got):\n%s", diff)
			}
			if got := stagetest.ReadFile(t, filepath.Join(b.dir, "vendor/sub/b")); got != "content of vendor/sub/b" {
				t.Errorf("content = %q", got)
			}
		})
	}
}

func TestCacheFallback(t *testing.T) {
	t.Parallel()
	b := newCacheBed(t, "f")
	b.save(t, "second", "zip", stage.Files{Paths: []string{"f"}})
	res, log := b.restore(t, "first", "second")
	if diff := cmp.Diff([]stage.CacheResult{{Key: "second", Hit: true, Bytes: res.Caches[0].Bytes}}, res.Caches); diff != "" {
		t.Errorf("result differs (-want +got):\n%s", diff)
	}
	want := "Checking cache for first...\n" + noDownload + "WARNING: Cache file does not exist\nFailed to extract cache\n" +
		"Checking cache for second...\n" + noDownload + "Successfully extracted cache\n"
	if diff := cmp.Diff(want, log); diff != "" {
		t.Errorf("log differs (-want +got):\n%s", diff)
	}
	if res, _ := b.restore(t, "first", "third"); res.Reason != stage.Success || res.Caches[0].Hit || res.Caches[0].Key != "first" {
		t.Errorf("result without any cache = %+v", res)
	}
}

func TestCacheUpToDate(t *testing.T) {
	t.Parallel()
	b := newCacheBed(t, "f")
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(filepath.Join(b.dir, "f"), old, old); err != nil {
		t.Fatal(err)
	}
	b.save(t, "k", "zip", stage.Files{Paths: []string{"f"}})
	before, err := os.Stat(b.file("k").Path + ".zip")
	if err != nil {
		t.Fatal(err)
	}
	_, log := b.save(t, "k", "zip", stage.Files{Paths: []string{"f"}})
	if !strings.Contains(log, "Archive is up to date!\nCreated cache\n") {
		t.Errorf("log:\n%s", log)
	}
	future := time.Now().Add(time.Hour)
	if err := os.Chtimes(filepath.Join(b.dir, "f"), future, future); err != nil {
		t.Fatal(err)
	}
	b.save(t, "k", "zip", stage.Files{Paths: []string{"f"}})
	after, err := os.Stat(b.file("k").Path + ".zip")
	if err != nil || os.SameFile(before, after) {
		t.Errorf("a changed file did not make a new archive: %v", err)
	}
}

func TestCacheOfOtherFormat(t *testing.T) {
	t.Parallel()
	b := newCacheBed(t, "f")
	b.save(t, "k", "zip", stage.Files{Paths: []string{"f"}})
	b.save(t, "k", "tarzstd", stage.Files{Paths: []string{"f"}})
	if _, err := os.Stat(b.file("k").Path + ".zip"); err == nil {
		t.Error("the archive of the earlier format is still there")
	}
	// GitLab Runner calls it .zip whatever it is.
	if err := os.Rename(b.file("k").Path+".tar.zst", b.file("k").Path+".zip"); err != nil {
		t.Fatal(err)
	}
	if res, log := b.restore(t, "k"); !res.Caches[0].Hit {
		t.Errorf("log:\n%s", log)
	}
}

func TestCacheNothingToSave(t *testing.T) {
	t.Parallel()
	b := newCacheBed(t)
	res, log := b.save(t, "k", "zip", stage.Files{Paths: []string{"none"}})
	if res.Reason != stage.Success || !strings.HasSuffix(log, "WARNING: No files to cache.\nCreated cache\n") {
		t.Errorf("result = %+v, log:\n%s", res, log)
	}
	if entries, _ := os.ReadDir(b.store); len(entries) != 0 {
		t.Errorf("the store holds %v", entries)
	}
}

func TestCorruptCache(t *testing.T) {
	t.Parallel()
	for name, content := range map[string]string{
		"empty": "", "text": "no archive", "zstd": "\x28\xb5\x2f\xfdgarbage", "gzip": "\x1f\x8bgarbage",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newCacheBed(t, "f")
			b.save(t, "good", "zip", stage.Files{Paths: []string{"f"}})
			stagetest.WriteFile(t, b.file("bad").Path+".zip", content)
			res, log := b.restore(t, "bad", "good")
			if res.Reason != stage.Success || !res.Caches[0].Hit || strings.Count(log, "FATAL: ") != 1 {
				t.Errorf("result = %+v, log:\n%s", res, log)
			}
		})
	}
}

// Links that a job left in the cache directory lead nowhere.
func TestCachePlantedLinks(t *testing.T) {
	t.Parallel()
	b := newCacheBed(t, "f")
	outside := t.TempDir()
	b.save(t, "good", "zip", stage.Files{Paths: []string{"f"}})
	secret := filepath.Join(outside, "cache.zip")
	if err := os.Rename(b.file("good").Path+".zip", secret); err != nil {
		t.Fatal(err)
	}
	project := filepath.Join(b.store, "group/project")
	for key, target := range map[string]string{"dir": outside, "up": "../../../" + filepath.Base(outside)} {
		if err := os.Symlink(target, filepath.Join(project, key)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(project, "file"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(secret, b.file("file").Path+".zip"); err != nil {
		t.Fatal(err)
	}
	content := stagetest.ReadFile(t, secret)
	for _, key := range []string{"dir", "up", "file"} {
		if res, log := b.restore(t, key); res.Caches[0].Hit {
			t.Errorf("%s: restored through a link:\n%s", key, log)
		}
		if res, _ := b.save(t, key, "zip", stage.Files{Paths: []string{"f"}}); res.Reason != stage.Success {
			t.Errorf("%s: result = %+v", key, res)
		}
	}
	if stagetest.ReadFile(t, secret) != content {
		t.Error("saving wrote through a link")
	}
	if entries, _ := os.ReadDir(outside); len(entries) != 1 {
		t.Errorf("outside of the cache there is now %v", entries)
	}
	if res, log := b.restore(t, "file"); !res.Caches[0].Hit {
		t.Errorf("a saved archive did not take the link's place:\n%s", log)
	}
}

// A cache that other jobs save again and again can be restored at any moment.
func TestCacheRestoredWhileSaved(t *testing.T) {
	t.Parallel()
	b := newCacheBed(t, "vendor/a")
	if _, log := b.save(t, "k", "zip", stage.Files{Paths: []string{"vendor"}}); !strings.Contains(log, "Created cache") {
		t.Fatal(log)
	}
	path := b.file("k").Path + ".zip"
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			temp := path + ".new"
			if err := errors.Join(os.WriteFile(temp, content, 0o600), os.Rename(temp, path)); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	restore := &stage.RestoreCache{Caches: []stage.CacheFrom{{Candidates: []stage.CacheFile{b.file("k")}}}}
	for range 500 {
		if res := b.Run(t, &stage.Spec{ID: "restore", Dir: b.dir, RestoreCache: restore}); len(res.Caches) != 1 || !res.Caches[0].Hit {
			t.Errorf("%+v\n%s", res, b.Out.Take())
			break
		}
	}
	close(stop)
	<-stopped
}

// What a job that was killed left of a cache is removed by a later one, once nobody can be writing it.
func TestCacheLeftovers(t *testing.T) {
	t.Parallel()
	b := newCacheBed(t, "vendor/a")
	dir := filepath.Dir(b.file("k").Path)
	for name, age := range map[string]time.Duration{"archive_OLD": 8 * 24 * time.Hour, "archive_123": time.Hour, "other": 99 * 24 * time.Hour} {
		p, then := filepath.Join(dir, name), time.Now().Add(-age)
		stagetest.WriteFile(t, p, "x")
		if err := os.Chtimes(p, then, then); err != nil {
			t.Fatal(err)
		}
	}
	b.save(t, "k", "zip", stage.Files{Paths: []string{"vendor"}})
	var got []string
	list, err := os.ReadDir(dir)
	for _, e := range list {
		got = append(got, e.Name())
	}
	if diff := cmp.Diff([]string{"archive_123", "cache.zip", "metadata.json", "other"}, got); diff != "" || err != nil {
		t.Errorf("left (-want +got), %v:\n%s", err, diff)
	}
}
