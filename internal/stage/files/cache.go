package files

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"gitlab.com/skerry/skerry/internal/archive"
	"gitlab.com/skerry/skerry/internal/stage"
	"gitlab.com/skerry/skerry/internal/stage/task"
)

// The suffixes of a cache's archive. GitLab Runner calls every archive cache.zip, whatever is in it;
// so the content decides, not the name.
const (
	suffixZip = ".zip"
	suffixTar = ".tar.zst"
)

// errNoCache says that there is no archive for a key.
var errNoCache = errors.New("Cache file does not exist") //nolint:staticcheck // GitLab Runner's line in the log

// RestoreCache extracts caches. A cache that is missing or broken is reported and never fails the stage.
func RestoreCache(ctx context.Context, tk *task.Task, s *stage.RestoreCache) stage.Result {
	root, err := os.OpenRoot(tk.Spec.Dir)
	if err != nil {
		return task.System(fmt.Errorf("open the project directory: %w", err))
	}
	defer root.Close()
	var res stage.Result
	for _, c := range s.Caches {
		one, err := restoreOne(ctx, tk, root, c, max(s.Attempts, 1))
		if err != nil {
			return task.System(err)
		}
		res.Caches = append(res.Caches, one)
	}
	return res
}

// restoreOne tries a cache's candidates in turn; the error is that of an ended context.
func restoreOne(ctx context.Context, tk *task.Task, root *os.Root, c stage.CacheFrom, attempts int) (stage.CacheResult, error) {
	var res stage.CacheResult
	log := helperLog{tk.Place.Stderr}
	for i, f := range c.Candidates {
		if i == 0 {
			res.Key = f.Key
		}
		tk.Log.Notice("Checking cache for %s...", f.Key)
		log.info("No URL provided, cache will not be downloaded from shared cache server. " +
			"Instead a local version of cache will be extracted.")
		st, err := extractCache(ctx, tk, root, f, attempts)
		if cause := context.Cause(ctx); cause != nil {
			return res, cause
		}
		if err == nil {
			tk.Log.Notice("Successfully extracted cache")
			return stage.CacheResult{Key: f.Key, Hit: true, Bytes: st.Size}, nil
		}
		if errors.Is(err, errNoCache) {
			log.warn("%v", err)
		} else {
			log.fatal(err)
		}
		tk.Log.Warn("Failed to extract cache")
	}
	return res, nil
}

func extractCache(ctx context.Context, tk *task.Task, root *os.Root, c stage.CacheFile, attempts int) (st archive.Stats, err error) {
	for range attempts {
		st, err = extractOnce(ctx, tk, root, c)
		if err == nil || errors.Is(err, errNoCache) || ctx.Err() != nil {
			break
		}
	}
	return st, err
}

func extractOnce(ctx context.Context, tk *task.Task, root *os.Root, c stage.CacheFile) (archive.Stats, error) {
	store, name, err := openCacheRoot(c)
	if errors.Is(err, fs.ErrNotExist) {
		return archive.Stats{}, errNoCache
	}
	if err != nil {
		return archive.Stats{}, err
	}
	defer store.Close()
	f, size, err := openCache(store, name)
	if err != nil {
		return archive.Stats{}, err
	}
	defer f.Close()
	return extract(ctx, tk, f, size, root)
}

// extract extracts an archive into the project directory. What is extracted for places of other users than this
// one gets the owners it had, as it is not theirs to change otherwise.
func extract(ctx context.Context, tk *task.Task, f *os.File, size int64, root *os.Root) (archive.Stats, error) {
	log := helperLog{tk.Place.Stderr}
	return archive.Extract(ctx, f, size, root, archive.Options{Owner: tk.Spec.Mixed, Warn: func(line string) { log.warn("%s", line) }})
}

// openCacheRoot opens the root of the local tier that a cache is in, and says where in it the cache is.
// Jobs can write below it, so that nothing there is trusted.
func openCacheRoot(c stage.CacheFile) (store *os.Root, name string, err error) {
	base := c.Root
	if base == "" {
		base = filepath.Dir(filepath.Dir(c.Path))
	}
	name, err = filepath.Rel(base, c.Path)
	if err != nil || !filepath.IsLocal(name) {
		return nil, "", fmt.Errorf("the cache %q is not below %q", c.Path, base)
	}
	store, err = os.OpenRoot(base)
	return store, name, err
}

// errReplaced says that another job put an archive in place while one was being opened.
var errReplaced = errors.New("the cache was replaced while it was opened")

// openCache opens the newer one of a cache's archives. Other jobs may be saving it at the same time.
func openCache(store *os.Root, name string) (f *os.File, size int64, err error) {
	for range 100 {
		f, size, err = openNewest(store, name)
		if !errors.Is(err, errReplaced) {
			break
		}
	}
	return f, size, err
}

// openNewest opens the newer one of a cache's archives. What is not a regular file is none: nothing is reached
// through a link, which could lead to another project's cache.
func openNewest(store *os.Root, name string) (*os.File, int64, error) {
	var newest fs.FileInfo
	var file string
	for _, suffix := range []string{suffixZip, suffixTar} {
		st, err := store.Lstat(name + suffix)
		if err == nil && st.Mode().IsRegular() && (newest == nil || st.ModTime().After(newest.ModTime())) {
			newest, file = st, name+suffix
		}
	}
	if newest == nil {
		return nil, 0, errNoCache
	}
	f, err := store.OpenFile(file, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, errReplaced
	}
	if err != nil {
		return nil, 0, err
	}
	st, err := f.Stat()
	if err == nil && !os.SameFile(st, newest) {
		err = errReplaced
	}
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, st.Size(), nil
}

// SaveCache packs caches. A cache that cannot be made is reported and never fails the stage.
func SaveCache(ctx context.Context, tk *task.Task, s *stage.SaveCache) stage.Result {
	root, err := os.OpenRoot(tk.Spec.Dir)
	if err != nil {
		return task.System(fmt.Errorf("open the project directory: %w", err))
	}
	defer root.Close()
	var res stage.Result
	log := helperLog{tk.Place.Stderr}
	for _, c := range s.Caches {
		tk.Log.Notice("Creating cache %s...", c.Key)
		size, err := saveOne(ctx, tk, root, c, log)
		if cause := context.Cause(ctx); cause != nil {
			return task.System(cause)
		}
		if err != nil {
			log.fatal(err)
			tk.Log.Warn("Failed to create cache")
		} else {
			tk.Log.Notice("Created cache")
		}
		res.Caches = append(res.Caches, stage.CacheResult{Key: c.Key, Bytes: size})
	}
	return res
}

// saveOne returns the size of the archive that it made, 0 when it made none.
func saveOne(ctx context.Context, tk *task.Task, root *os.Root, c stage.CacheTo, log helperLog) (int64, error) {
	files, latest, err := choose(ctx, tk, root, c.Files)
	if err != nil {
		return 0, err
	}
	if len(files) == 0 {
		log.warn("No files to cache.")
		return 0, nil
	}
	base := c.Root
	if base == "" {
		base = filepath.Dir(filepath.Dir(c.Path))
	}
	if err := os.MkdirAll(base, 0o700); err != nil {
		return 0, err
	}
	store, name, err := openCacheRoot(c.CacheFile)
	if err != nil {
		return 0, err
	}
	defer store.Close()
	suffix, other := suffixZip, suffixTar
	if strings.EqualFold(c.Format, string(archive.TarZstd)) {
		suffix, other = other, suffix
	}
	if st, err := store.Lstat(name + suffix); err == nil && st.Mode().IsRegular() && !latest.After(st.ModTime()) {
		log.info("Archive is up to date!")
		return 0, nil
	}
	size, err := writeCache(ctx, tk, root, store, name+suffix, files, c)
	if err != nil {
		return 0, err
	}
	_ = store.Remove(name + other) // of an earlier format; the newer archive counts, so this may fail
	log.info("No URL provided, cache will not be uploaded to shared cache server. Cache will be stored only locally.")
	return size, nil
}

// writeCache makes a cache's archive under another name and renames it, then leaves the key beside it, as
// GitLab Runner does.
func writeCache(ctx context.Context, tk *task.Task, root, store *os.Root, name string, files []string, c stage.CacheTo) (int64, error) {
	if err := store.MkdirAll(path.Dir(name), 0o700); err != nil {
		return 0, err
	}
	sweep(store, path.Dir(name))
	o := packOptions(tk, files, c.Format, c.Level)
	var st archive.Stats
	err := replaceFile(store, name, 0o600, func(f *os.File) (err error) {
		st, err = archive.Create(ctx, f, root, files, o)
		return err
	})
	if err != nil {
		return 0, err
	}
	note, err := json.Marshal(map[string]string{"cachekey": c.Key})
	if err != nil {
		return 0, err
	}
	err = replaceFile(store, path.Join(path.Dir(name), "metadata.json"), 0o640, func(f *os.File) error {
		_, err := f.Write(note)
		return err
	})
	return st.Size, err
}

// packOptions are the options for an archive of files, with GitLab Runner's warnings.
func packOptions(tk *task.Task, files []string, format, level string) archive.Options {
	log := helperLog{tk.Place.Stderr}
	l, ok := archive.ParseLevel(level)
	if !ok {
		log.warn("compression level %q is invalid, falling back to default", level)
	}
	o := archive.Options{Format: archive.Format(strings.ToLower(format)), Level: l}
	if o.Format == "" || o.Format == archive.Zip {
		for _, name := range files {
			if name == ".git" || strings.HasPrefix(name, ".git/") {
				log.warn("Part of .git directory is on the list of files to archive")
				log.warn("This may introduce unexpected problems")
				break
			}
		}
	}
	o.Warn = func(line string) { log.warn("%s", line) }
	return o
}

// unfinished begins the names of files that are not whole yet; GitLab Runner's are called so, too.
const unfinished = "archive_"

// abandonedAfter is when a file that is not whole can have no writer any more: no job takes so long to save a cache.
const abandonedAfter = 7 * 24 * time.Hour

// sweep removes what jobs that were killed left of a cache that they were saving.
func sweep(store *os.Root, dir string) {
	list, _ := rootFS{store}.ReadDir(dir) // it is about disk space only
	for _, e := range list {
		st, err := e.Info()
		if err == nil && strings.HasPrefix(e.Name(), unfinished) && st.Mode().IsRegular() && time.Since(st.ModTime()) > abandonedAfter {
			_ = store.Remove(path.Join(dir, e.Name()))
		}
	}
}

// replaceFile makes a file beneath root in one step: either all of it is there under its name, or
// what was there before.
func replaceFile(root *os.Root, name string, mode fs.FileMode, fill func(*os.File) error) error {
	temp := path.Join(path.Dir(name), unfinished+rand.Text())
	f, err := root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	err = errors.Join(fill(f), f.Close())
	if err == nil {
		err = root.Rename(temp, name)
	}
	if err != nil {
		return errors.Join(err, root.Remove(temp))
	}
	return nil
}
