package files

import (
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
)

// rootFS is what globbing needs of a directory. Root.FS would do, were it not for names that are no UTF-8,
// which fs.ValidPath refuses and git, tar and zip do not.
type rootFS struct{ root *os.Root }

func (r rootFS) Open(name string) (fs.File, error) {
	return r.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
}

func (r rootFS) Stat(name string) (fs.FileInfo, error) { return r.root.Stat(name) }

func (r rootFS) Lstat(name string) (fs.FileInfo, error) { return r.root.Lstat(name) }

func (r rootFS) ReadLink(name string) (string, error) { return r.root.Readlink(name) }

func (r rootFS) ReadDir(name string) ([]fs.DirEntry, error) {
	f, err := r.root.OpenFile(name, os.O_RDONLY|syscall.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	list, err := f.ReadDir(-1)
	slices.SortFunc(list, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return list, err
}
