package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// root is the root directory.
type root struct {
	mounts []string // and what else is not the image's
	seen   map[string]state
}

// state is what tells that a file has changed.
type state struct {
	mode, uid, gid uint32
	size           int64
	modified, node syscall.Timespec
}

// look finds out what is mounted.
func (r *root) look() error {
	r.mounts = []string{"/kaniko", "/etc/mtab"}
	info, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(info)) {
		if f := strings.Fields(line); len(f) > 4 && f[4] != "/" {
			r.mounts = append(r.mounts, f[4])
		}
	}
	return nil
}

// foreign reports whether a path is not the image's.
func (r *root) foreign(path string) bool {
	return slices.ContainsFunc(r.mounts, func(m string) bool { return path == m || strings.HasPrefix(path, m+"/") })
}

// holdsForeign reports whether something below a path is not the image's.
func (r *root) holdsForeign(path string) bool {
	return slices.ContainsFunc(r.mounts, func(m string) bool { return strings.HasPrefix(m, strings.TrimSuffix(path, "/")+"/") })
}

// empty removes all that is the image's.
func (r *root) empty() error {
	return filepath.WalkDir("/", func(path string, _ fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case r.foreign(path):
			return filepath.SkipDir
		case r.holdsForeign(path):
			return err
		}
		if err := os.RemoveAll(path); err != nil {
			return err
		}
		return filepath.SkipDir
	})
}

// unpack makes the files of an image.
func (r *root) unpack(files io.Reader) error {
	for t := tar.NewReader(files); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		path := filepath.Join("/", h.Name)
		if path == "/" || r.foreign(path) {
			continue
		}
		if err := unpackOne(path, h, t); err != nil {
			return fmt.Errorf("unpack %s: %w", path, err)
		}
	}
}

func unpackOne(path string, h *tar.Header, content io.Reader) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if i, err := os.Lstat(path); err == nil && (h.Typeflag != tar.TypeDir || !i.IsDir()) {
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	switch h.Typeflag {
	case tar.TypeDir:
		if err := os.MkdirAll(path, 0o755); err != nil {
			return err
		}
	case tar.TypeSymlink:
		if err := os.Symlink(h.Linkname, path); err != nil {
			return err
		}
		return os.Lchown(path, h.Uid, h.Gid)
	case tar.TypeLink:
		return os.Link(filepath.Join("/", h.Linkname), path)
	default:
		f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err == nil {
			_, err = io.Copy(f, content)
			err = errors.Join(err, f.Close())
		}
		if err != nil {
			return err
		}
	}
	if err := os.Chown(path, h.Uid, h.Gid); err != nil {
		return err
	}
	if err := os.Chmod(path, h.FileInfo().Mode()); err != nil {
		return err
	}
	return os.Chtimes(path, h.ModTime, h.ModTime)
}

// remember takes the state of all that is the image's.
func (r *root) remember() (err error) {
	r.seen, err = r.walk()
	return err
}

func (r *root) walk() (map[string]state, error) {
	all := map[string]state{}
	return all, filepath.WalkDir("/", func(path string, d fs.DirEntry, err error) error {
		if r.foreign(path) {
			if d.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		var i fs.FileInfo
		if err == nil && path != "/" {
			i, err = d.Info()
		}
		if errors.Is(err, fs.ErrNotExist) { // it went meanwhile
			return nil
		}
		if err != nil || path == "/" {
			return err
		}
		s := i.Sys().(*syscall.Stat_t)
		one := state{mode: s.Mode, uid: s.Uid, gid: s.Gid, node: s.Ctim}
		if !i.IsDir() { // a directory that only has other files is as it was
			one.size, one.modified = s.Size, s.Mtim
		} else {
			one.node = syscall.Timespec{}
		}
		all[path] = one
		return nil
	})
}

// changes is a layer of what is not as it was when remember, or this, was called last.
func (r *root) changes() (v1.Layer, error) {
	now, err := r.walk()
	if err != nil {
		return nil, err
	}
	var changed []string
	for path, s := range now {
		if r.seen[path] != s {
			changed = append(changed, path)
		}
	}
	for path := range r.seen {
		if _, there := now[path]; !there {
			if _, above := now[filepath.Dir(path)]; above || filepath.Dir(path) == "/" {
				changed = append(changed, filepath.Join(filepath.Dir(path), ".wh."+filepath.Base(path)))
			}
		}
	}
	r.seen = now
	slices.Sort(changed)
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, path := range changed {
		if err := pack(w, path); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return layerOf(out.Bytes())
}

func pack(w *tar.Writer, path string) error {
	if strings.HasPrefix(filepath.Base(path), ".wh.") {
		return w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: path[1:]})
	}
	i, err := os.Lstat(path)
	if err != nil {
		return err
	}
	link := ""
	if i.Mode()&fs.ModeSymlink != 0 {
		if link, err = os.Readlink(path); err != nil {
			return err
		}
	}
	h, err := tar.FileInfoHeader(i, link)
	if err != nil {
		return err
	}
	h.Name = path[1:]
	if err := w.WriteHeader(h); err != nil || !i.Mode().IsRegular() {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
