package disk

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"syscall"
	"time"

	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
)

const (
	// weighTime bounds the asking of an engine for the sizes of volumes.
	weighTime = 30 * time.Second
	// eachTime bounds the looking through one volume, and allTime that of all in one look at the disk: jobs can make any number of
	// files, and whatever they do the rest of sweepTime is for evicting.
	eachTime = time.Minute
	allTime  = 4 * time.Minute
	// readAtOnce is how many entries of a directory are read before the time is looked at again.
	readAtOnce = 256
)

// weight is what a volume was found to occupy.
type weight struct {
	bytes int64
	at    time.Time // when; zero: the engine told
	cut   bool      // it has more files than could be looked at
}

// weigh finds out the sizes of the volumes, where they decide or something has to go.
func (s *sweep) weigh(ctx context.Context, volumes []engineapi.StoredVolume) {
	if len(volumes) == 0 {
		return
	}
	if over, err := s.over(ctx); s.policy.Bytes == 0 && (err != nil || over == 0) {
		return
	}
	if s.local() && s.weighHere(ctx, volumes) || ctx.Err() != nil {
		return
	}
	// The engine's own account is of everybody's images, containers and volumes, and it is made while jobs make and
	// remove theirs: it takes long, and Podman gives up when a container goes meanwhile.
	ctx, cancel := context.WithTimeout(ctx, weighTime)
	defer cancel()
	sizes, err := s.engine.VolumeSizes(ctx)
	if err != nil {
		s.k.o.Log.Debug("The sizes of volumes are those of an earlier look", "error", err)
		return
	}
	s.k.mu.Lock()
	defer s.k.mu.Unlock()
	for name, bytes := range sizes {
		s.k.sizes[name] = weight{bytes: bytes}
	}
}

// weighHere looks into the volumes itself, those that jobs have had since the last time. It reports whether it
// could. A volume for which the time is too short is at least as large as what was seen of it, and as before.
func (s *sweep) weighHere(ctx context.Context, volumes []engineapi.StoredVolume) bool {
	all, cancel := context.WithTimeout(ctx, s.k.allTime)
	defer cancel()
	for _, v := range s.toWeigh(volumes) {
		if all.Err() != nil {
			break // the others are first the next time
		}
		w := weight{at: s.k.o.Now()}
		each, cancel := context.WithTimeout(all, s.k.eachTime)
		var whole bool
		w.bytes, whole = weigh(each, v.Mountpoint)
		w.cut = !whole && each.Err() != nil
		cancel()
		if !whole && !w.cut || ctx.Err() != nil {
			return false
		}
		s.k.mu.Lock()
		if w.cut {
			w.bytes = max(w.bytes, s.k.sizes[v.Name].bytes)
		}
		s.k.sizes[v.Name] = w
		s.k.mu.Unlock()
	}
	return ctx.Err() == nil
}

// toWeigh are the volumes whose sizes may have changed, those first that have not been looked at for the longest time.
func (s *sweep) toWeigh(volumes []engineapi.StoredVolume) (due []engineapi.StoredVolume) {
	s.k.mu.Lock()
	defer s.k.mu.Unlock()
	for _, v := range volumes {
		if isNix(v) { // it may have millions of files
			continue
		}
		before, used := s.k.sizes[v.Name], s.k.ledger.data.Volumes[v.Name]
		if before.at.IsZero() || !before.at.After(used) || before.cut || isJobs(v) {
			due = append(due, v)
		}
	}
	slices.SortStableFunc(due, func(a, b engineapi.StoredVolume) int { return s.k.sizes[a.Name].at.Compare(s.k.sizes[b.Name].at) })
	return due
}

// weigh is how many bytes the files in a directory that belongs to jobs occupy; false when it could not look at all
// of them, or ctx ended before it had: then the bytes are those of some.
func weigh(ctx context.Context, dir string) (bytes int64, whole bool) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return 0, false
	}
	defer root.Close()
	w := &weighing{root: root, linked: map[uint64]bool{}, below: []string{"."}}
	if i, err := root.Stat("."); err == nil {
		w.bytes = onDisk(i)
	}
	for len(w.below) > 0 {
		last := len(w.below) - 1
		dir := w.below[last]
		w.below = w.below[:last]
		if w.look(ctx, dir) != nil {
			return w.bytes, false
		}
	}
	return w.bytes, true
}

// weighing is the state of weigh.
type weighing struct {
	root   *os.Root
	bytes  int64
	linked map[uint64]bool // files with several names that have been counted
	below  []string        // directories that are still to be looked into
}

// look counts what is in a directory. What a job removes or replaces meanwhile is no error.
func (w *weighing) look(ctx context.Context, dir string) error {
	// It may be a pipe by now, to open which waits for a writer.
	f, err := w.root.OpenFile(dir, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NONBLOCK, 0)
	if gone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		entries, err := f.ReadDir(readAtOnce) // whole directories are as large as a job likes
		for _, d := range entries {
			if err := w.count(dir, d); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) || gone(err) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// count adds what an entry of a directory occupies.
func (w *weighing) count(dir string, d fs.DirEntry) error {
	i, err := d.Info()
	if gone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if i.IsDir() {
		w.below = append(w.below, path.Join(dir, d.Name()))
	} else if st, ok := i.Sys().(*syscall.Stat_t); ok && st.Nlink > 1 {
		if w.linked[st.Ino] {
			return nil
		}
		w.linked[st.Ino] = true
	}
	w.bytes += onDisk(i)
	return nil
}

// gone reports that what was to be looked at is not there any more, or something else is.
func gone(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) }
