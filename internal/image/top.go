package image

import (
	"archive/tar"
	"bytes"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"gitlab.com/skerry/skerry/internal/image/saved"
)

// storeDir is where Nix has its store.
const storeDir = "/nix/store"

// top is a layer for an image. Directories that the image has already keep owner and mode unless something else is
// said of them; a link into the store in the place of one is replaced.
type top struct {
	base  *saved.Image
	files map[string]entry // by clean absolute paths
}

type entry struct {
	header  tar.Header
	content string
}

func newTop(base *saved.Image) *top { return &top{base: base, files: map[string]entry{}} }

// dir makes a directory, or gives the image's another mode and to root.
func (t *top) dir(p string, mode int64) {
	p = t.place(p)
	t.files[p] = entry{header: tar.Header{Typeflag: tar.TypeDir, Mode: mode}}
}

// text makes a file.
func (t *top) text(p string, mode int64, content string) {
	p = t.place(p)
	t.files[p] = entry{header: tar.Header{Typeflag: tar.TypeReg, Mode: mode, Size: int64(len(content))}, content: content}
}

// link makes a symbolic link, or leaves what the image has there.
func (t *top) link(p, target string) {
	if p = t.place(p); !t.has(p) {
		t.files[p] = entry{header: tar.Header{Typeflag: tar.TypeSymlink, Mode: 0o777, Linkname: target}}
	}
}

func (t *top) has(p string) bool {
	_, has := t.base.Lookup(p)
	return has
}

// own gives what is in the layer at p to a user and the group of the same number.
func (t *top) own(p string, id int) {
	p = t.place(p)
	e := t.files[p]
	e.header.Uid, e.header.Gid = id, id
	t.files[p] = e
}

// attribute gives a file that is in the layer at p an extended attribute.
func (t *top) attribute(p, name, value string) {
	p = t.place(p)
	e := t.files[p]
	e.header.PAXRecords = map[string]string{"SCHILY.xattr." + name: value}
	t.files[p] = e
}

// place returns where p really is in the image, after links outside of the store, and puts the directories above it into
// the layer: engines give those that a layer does not name a mode of their own.
func (t *top) place(p string) string {
	dir, base := path.Split(path.Clean(p))
	if dir = path.Clean(dir); dir == "/" {
		return "/" + base
	}
	dir = t.place(dir)
	if f, ok := t.base.Lookup(dir); ok && f.Mode&fs.ModeSymlink != 0 {
		if found, err := t.base.Find(dir); err == nil && found.Mode.IsDir() && !found.Through(storeDir) {
			dir = t.place(found.Path)
		}
	}
	if _, has := t.files[dir]; !has {
		e := entry{header: tar.Header{Typeflag: tar.TypeDir, Mode: 0o755}}
		if f, ok := t.base.Lookup(dir); ok && f.Mode.IsDir() {
			e.header.Mode, e.header.Uid, e.header.Gid = bits(f.Mode), f.UID, f.GID
		}
		t.files[dir] = e
	}
	return path.Join(dir, base)
}

// bits is a mode as tar has it.
func bits(m fs.FileMode) int64 {
	n := int64(m.Perm())
	for _, b := range []struct {
		mode fs.FileMode
		bit  int64
	}{{fs.ModeSetuid, 0o4000}, {fs.ModeSetgid, 0o2000}, {fs.ModeSticky, 0o1000}} {
		if m&b.mode != 0 {
			n |= b.bit
		}
	}
	return n
}

// archive is the layer; nothing when it is empty.
func (t *top) archive() ([]byte, error) {
	if len(t.files) == 0 {
		return nil, nil
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, p := range slices.Sorted(maps.Keys(t.files)) {
		e := t.files[p]
		e.header.Name = strings.TrimPrefix(p, "/")
		if e.header.Typeflag == tar.TypeDir {
			e.header.Name += "/"
		}
		if err := w.WriteHeader(&e.header); err != nil {
			return nil, err
		}
		if _, err := w.Write([]byte(e.content)); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), w.Close()
}
