package archive

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"gitlab.com/skerry/skerry/internal/archive/beneath"
)

// maxEntries bounds what an archive can make us remember.
const maxEntries = 4 << 20

// entry is one thing to put in place.
type entry struct {
	name  string // clean
	mode  fs.FileMode
	mtime unix.Timespec
	uid   int
	gid   int
	owned bool // uid and gid are known
	link  string
	seq   int // of the entry in a tar
}

// perm are the permissions that the entry gets: never setuid, setgid or sticky, as GitLab Runner has it.
func (e *entry) perm() uint32 { return uint32(e.mode.Perm()) }

// target is where an archive is extracted to; it is shared by the workers. Directories get their modes
// and times, and links are made, only when all files are there: so neither can be in a file's way.
type target struct {
	root     *os.Root
	o        Options
	files    atomic.Int64
	bytes    atomic.Int64
	warnLock sync.Mutex

	// of the coordinating goroutine
	dirs  []entry
	links []entry
}

func (t *target) warn(format string, args ...any) {
	if t.o.Warn != nil {
		t.warnLock.Lock()
		defer t.warnLock.Unlock()
		t.o.Warn(fmt.Sprintf(format, args...))
	}
}

func (t *target) stats() Stats {
	return Stats{Files: int(t.files.Load()), Bytes: t.bytes.Load()}
}

// spend counts n bytes of content and refuses what is beyond the limit.
func (t *target) spend(n int64) error {
	if sum := t.bytes.Add(n); t.o.MaxBytes > 0 && sum > t.o.MaxBytes {
		return fmt.Errorf("the archive's content is larger than %d bytes: %w", t.o.MaxBytes, ErrTooLarge)
	}
	return nil
}

// placer puts files in place for one worker.
type placer struct {
	*target
	tree *beneath.Tree
}

func (t *target) placer() (*placer, error) {
	tr, err := beneath.New(t.root)
	return &placer{target: t, tree: tr}, err
}

func (p *placer) close() { p.tree.Close() }

// finish gives a created file its owner, mode and time and closes it.
func (p *placer) finish(fd int, e *entry) error {
	err := p.attributes(fd, e)
	if err == nil {
		var dir int
		if dir, err = p.tree.Dir(path.Dir(e.name)); err == nil {
			err = beneath.SetTime(dir, path.Base(e.name), e.mtime)
		}
	}
	if closeErr := unix.Close(fd); err == nil && closeErr != nil {
		err = closeErr
	}
	if err != nil {
		return &fs.PathError{Op: "finish", Path: e.name, Err: err}
	}
	p.files.Add(1)
	return nil
}

func (p *placer) attributes(fd int, e *entry) error {
	if p.o.Owner && e.owned {
		_ = unix.Fchown(fd, e.uid, e.gid) // only root may; GitLab Runner does not insist either
	}
	return unix.Fchmod(fd, e.perm())
}

// put writes a whole file.
func (p *placer) put(e *entry, content []byte) error {
	fd, err := p.tree.Create(e.name, e.perm())
	if err != nil {
		return err
	}
	if err := beneath.Write(fd, e.name, content); err != nil {
		_ = unix.Close(fd)
		return err
	}
	return p.finish(fd, e)
}

// addDir makes a directory now; its mode and time come with finishAll.
func (p *placer) addDir(e entry) error {
	if e.name == "." {
		return nil // the root's own mode is not the archive's affair
	}
	if _, err := p.tree.Make(e.name); err != nil {
		return err
	}
	p.dirs = append(p.dirs, e)
	p.files.Add(1)
	return nil
}

func (p *placer) addLink(e entry) { p.links = append(p.links, e) }

// finishAll makes the links and then gives the directories their modes and times, the deepest first.
func (p *placer) finishAll() error {
	for i := range p.links {
		if err := p.link(&p.links[i]); err != nil {
			return err
		}
	}
	slices.SortStableFunc(p.dirs, func(a, b entry) int {
		return strings.Count(b.name, "/") - strings.Count(a.name, "/")
	})
	for i := range p.dirs {
		if err := p.finishDir(&p.dirs[i]); err != nil {
			return err
		}
	}
	return nil
}

func (p *placer) link(e *entry) error {
	dir, err := p.tree.Symlink(e.link, e.name)
	if err != nil {
		return err
	}
	if p.o.Owner && e.owned {
		_ = unix.Fchownat(dir, path.Base(e.name), e.uid, e.gid, unix.AT_SYMLINK_NOFOLLOW)
	}
	p.files.Add(1)
	return nil
}

// finishDir leaves alone what is a link to a directory, or was replaced by something else meanwhile.
func (p *placer) finishDir(e *entry) error {
	above, err := p.tree.Dir(path.Dir(e.name))
	if err != nil {
		return err
	}
	flags := unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := beneath.Retry(func() (int, error) { return unix.Openat(above, path.Base(e.name), flags, 0) })
	switch {
	case errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
		return nil
	case err != nil:
		return &fs.PathError{Op: "open", Path: e.name, Err: err}
	}
	defer unix.Close(fd) //nolint:errcheck // nothing was written through it
	if err := p.attributes(fd, e); err != nil {
		return &fs.PathError{Op: "chmod", Path: e.name, Err: err}
	}
	if err := beneath.SetTime(fd, ".", e.mtime); err != nil {
		return &fs.PathError{Op: "chtimes", Path: e.name, Err: err}
	}
	return nil
}
