package sources

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"gitlab.com/skerry/skerry/internal/stage/tree"
)

// keeper strips a git directory that an earlier job left down to its objects and shallow commits.
type keeper struct {
	dir     string
	format  string // object format that is wanted
	partial bool   // objects of a partial clone are welcome
	spare   string // an entry to leave to the caller; may be empty

	head string // the commit that HEAD named, when its object is there
}

// keep strips the directory. It returns commits whose objects are there, most wanted first; without any, no object is left.
func (k *keeper) keep() ([]string, error) {
	hints := k.hints() // before the files are gone
	entries, err := os.ReadDir(k.dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		switch name := e.Name(); {
		case name == "objects" && e.IsDir():
		case name == "shallow" && e.Type().IsRegular() && k.shallow():
		case name == k.spare && e.IsDir():
		default:
			if err := tree.RemoveAll(filepath.Join(k.dir, name)); err != nil {
				return nil, err
			}
		}
	}
	ok, err := k.objects()
	if err != nil {
		return nil, err
	}
	if ok {
		if list := k.present(hints); len(list) > 0 {
			return list, nil
		}
	}
	// Objects that nothing names are of no use, and could only be in the way of true ones.
	return nil, errors.Join(tree.RemoveAll(filepath.Join(k.dir, "objects")), tree.RemoveAll(filepath.Join(k.dir, "shallow")))
}

// shallow reports whether the file is what git writes: one object name a line.
func (k *keeper) shallow() bool {
	text, err := readPlain(filepath.Join(k.dir, "shallow"), 8<<20)
	if err != nil || len(text) == 0 {
		return false
	}
	for line := range strings.Lines(text) {
		if !isHash(strings.TrimSuffix(line, "\n"), k.format) {
			return false
		}
	}
	return true
}

// objects removes from objects/ all that is not a plain object or pack. It reports false when nothing
// of it can be used: another object format, or a partial clone's.
func (k *keeper) objects() (bool, error) {
	dir := filepath.Join(k.dir, "objects")
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	found := false
	for _, e := range entries {
		var keep func(string) (bool, bool) // which files stay; whether the store is usable
		switch name := e.Name(); {
		case e.IsDir() && name == "pack":
			keep = k.packFile
		case e.IsDir() && len(name) == 2 && isHex(name):
			keep = k.looseFile
		}
		if keep == nil {
			if err := tree.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return false, err
			}
			continue
		}
		ok, err := sift(filepath.Join(dir, e.Name()), keep)
		if !ok || err != nil {
			return false, err
		}
		found = true
	}
	return found, nil
}

// sift removes the entries of dir that keep does not want.
func sift(dir string, keep func(string) (stays, usable bool)) (bool, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false, err
	}
	for _, e := range entries {
		stays, usable := keep(e.Name())
		if !usable {
			return false, nil
		}
		if stays && e.Type().IsRegular() {
			continue
		}
		if err := tree.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return false, err
		}
	}
	return true, nil
}

// packFile keeps packs and their indexes; bitmaps, multi-pack indexes and the like can be made again
// and could lie.
func (k *keeper) packFile(name string) (stays, usable bool) {
	ext := filepath.Ext(name)
	hash, isPack := strings.CutPrefix(strings.TrimSuffix(name, ext), "pack-")
	if !isPack || (ext != ".pack" && ext != ".idx" && ext != ".promisor") {
		return false, true
	}
	if !isHash(hash, k.format) || ext == ".promisor" && !k.partial {
		return false, false
	}
	return true, true
}

func (k *keeper) looseFile(name string) (stays, usable bool) {
	if !isHex(name) {
		return false, true
	}
	ok := isHash("00"+name, k.format)
	return ok, ok
}

// maxHaves bounds the commits that a fetch is told of.
const maxHaves = 64

// hints collects object names from HEAD and the references. They are only names: whether there is
// such an object is seen later, and whether it is a commit by git.
func (k *keeper) hints() []string {
	var list []string
	add := func(text string) bool {
		s := strings.TrimSpace(text)
		if isHash(s, k.format) && !slices.Contains(list, s) {
			list = append(list, s)
		}
		return len(list) < maxHaves
	}
	head, _ := readPlain(filepath.Join(k.dir, "HEAD"), 4096)
	if ref, ok := strings.CutPrefix(head, "ref: "); ok && !strings.Contains(ref, "..") {
		head, _ = readPlain(filepath.Join(k.dir, strings.TrimSpace(ref)), 4096)
	}
	add(head)
	if len(list) > 0 {
		k.head = list[0]
	}
	seen := 0
	_ = filepath.WalkDir(filepath.Join(k.dir, "refs"), func(path string, e fs.DirEntry, err error) error {
		if seen++; err != nil || seen > 1000 {
			return fs.SkipAll
		}
		if text, err := readPlain(path, 4096); err == nil && e.Type().IsRegular() && !add(text) {
			return fs.SkipAll
		}
		return nil
	})
	packed, _ := readPlain(filepath.Join(k.dir, "packed-refs"), 8<<20)
	for line := range strings.Lines(packed) {
		name, _, _ := strings.Cut(line, " ")
		if !add(name) {
			break
		}
	}
	return list
}

// present filters names by whether the object is there.
func (k *keeper) present(names []string) []string {
	store := openObjects(filepath.Join(k.dir, "objects"), k.format)
	defer store.close()
	list := slices.DeleteFunc(names, func(s string) bool { return !store.has(s) })
	if !slices.Contains(list, k.head) {
		k.head = ""
	}
	return list
}

// readPlain reads a regular file of at most limit bytes without following a link or waiting for a pipe.
func readPlain(path string, limit int64) (string, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return "", err
	}
	if !st.Mode().IsRegular() || st.Size() > limit {
		return "", errors.New("not a regular file of a sensible size")
	}
	b, err := io.ReadAll(io.LimitReader(f, limit))
	return string(b), err
}
