// Package hostfiles finds the files of this machine that programs need to run in an empty file system:
// the programs, the interpreters and libraries that they name, and every symbolic link on the way.
package hostfiles

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
)

// Set is files by their absolute path. Make it with New. It is not safe for concurrent use.
type Set struct {
	root  string // of the machine; "/" but for tests
	files map[string]file
	libs  []string // directories that the dynamic loader searches
}

// file is one entry: a link, a directory, text of our own, or a file of the machine.
type file struct {
	mode   fs.FileMode
	link   string // target of a symbolic link
	text   []byte // content that is not the machine's
	source string // path of the machine's file
	size   int64
	mtime  int64
}

// New returns an empty set of the machine whose root directory is root.
func New(root string) *Set {
	s := &Set{root: root, files: map[string]file{}}
	s.libs = s.searchPath()
	return s
}

// maxLinks is how many links one path may have, as in Linux.
const maxLinks = 40

// Add adds what is at an absolute path, with the links that lead to it and the directories above. It returns
// the path without links, below the set's root; an error that is fs.ErrNotExist says that there is nothing.
func (s *Set) Add(p string) (string, error) {
	done, rest := "/", strings.Split(strings.Trim(path.Clean(p), "/"), "/")
	for links := 0; len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			done = path.Dir(done)
			continue
		}
		at := path.Join(done, name)
		info, err := os.Lstat(path.Join(s.root, at))
		if err != nil {
			return "", err
		}
		f := file{mode: info.Mode()}
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			if links++; links > maxLinks {
				return "", fmt.Errorf("%s: too many symbolic links", p)
			}
			if f.link, err = os.Readlink(path.Join(s.root, at)); err != nil {
				return "", err
			}
			s.files[at] = f
			if path.IsAbs(f.link) {
				done = "/"
			}
			rest = append(strings.Split(f.link, "/"), rest...)
			continue
		case info.Mode().IsRegular():
			f.source, f.size, f.mtime = path.Join(s.root, at), info.Size(), info.ModTime().UnixNano()
		case !info.IsDir():
			return "", fmt.Errorf("%s is no file", p)
		}
		s.files[at] = f
		done = at
	}
	return done, nil
}

// Text adds a file of our own.
func (s *Set) Text(p string, mode fs.FileMode, text string) {
	s.parents(p)
	s.files[p] = file{mode: mode, text: []byte(text)}
}

// Dir adds a directory of our own.
func (s *Set) Dir(p string, mode fs.FileMode) {
	s.parents(p)
	s.files[p] = file{mode: fs.ModeDir | mode}
}

func (s *Set) parents(p string) {
	for d := path.Dir(p); d != "/"; d = path.Dir(d) {
		if _, there := s.files[d]; !there {
			s.files[d] = file{mode: fs.ModeDir | 0o755}
		}
	}
}

// Has reports whether the set has something at a path, links not followed.
func (s *Set) Has(p string) bool { _, ok := s.files[p]; return ok }

// Fingerprint changes when the set would: with names, modes, sizes and times of the machine's files and
// with the content of our own.
func (s *Set) Fingerprint() string {
	h := sha256.New()
	for _, p := range slices.Sorted(maps.Keys(s.files)) {
		f := s.files[p]
		fmt.Fprintf(h, "%q %v %q %q %d %d\n", p, f.mode, f.link, f.text, f.size, f.mtime)
	}
	return hex.EncodeToString(h.Sum(nil))[:12]
}

// Tar writes the set, owned by root, without times, always in the same order.
func (s *Set) Tar(out io.Writer) error {
	w := tar.NewWriter(out)
	for _, p := range slices.Sorted(maps.Keys(s.files)) {
		if err := s.files[p].write(w, strings.TrimPrefix(p, "/")); err != nil {
			return fmt.Errorf("pack %s: %w", p, err)
		}
	}
	return w.Close()
}

func (f file) write(w *tar.Writer, name string) error {
	h := &tar.Header{Name: name, Mode: int64(f.mode.Perm())}
	if f.mode&fs.ModeSticky != 0 {
		h.Mode |= 0o1000
	}
	switch {
	case f.mode.IsDir():
		h.Typeflag, h.Name = tar.TypeDir, name+"/"
		return w.WriteHeader(h)
	case f.link != "":
		h.Typeflag, h.Linkname = tar.TypeSymlink, f.link
		return w.WriteHeader(h)
	case f.source == "":
		h.Typeflag, h.Size = tar.TypeReg, int64(len(f.text))
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		_, err := w.Write(f.text)
		return err
	}
	in, err := os.Open(f.source)
	if err != nil {
		return err
	}
	defer in.Close()
	h.Typeflag, h.Size = tar.TypeReg, f.size
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	n, err := io.Copy(w, io.LimitReader(in, f.size))
	if err == nil && n < f.size {
		err = errors.New("it became shorter meanwhile")
	}
	return err
}

// Paths lists the files and links of the set, in order.
func (s *Set) Paths() []string {
	var paths []string
	for _, p := range slices.Sorted(maps.Keys(s.files)) {
		if !s.files[p].mode.IsDir() {
			paths = append(paths, p)
		}
	}
	return paths
}
