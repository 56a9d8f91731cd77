package saved

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
)

// File is a file of the image, whichever layer it is from.
type File struct {
	Mode fs.FileMode // with its type
	Link string      // of a symbolic link
	Size int64
	UID  int
	GID  int
	// Capable says that it has file capabilities, which give rights to who runs it.
	Capable bool

	layer int
	name  string // under which its content is in the layer
}

// Found is what a path leads to.
type Found struct {
	File

	// Path is where it is once all symbolic links are followed.
	Path string
	// Way lists the links that were followed, by their own paths, and Path.
	Way []string
}

// Through reports whether the way leads into dir or through it.
func (f Found) Through(dir string) bool {
	for _, p := range f.Way {
		if p == dir || strings.HasPrefix(p, dir+"/") {
			return true
		}
	}
	return false
}

// node is a file or directory; file is nil where no layer has an entry for a directory.
type node struct {
	file     *File
	children map[string]*node
}

// The names with which layers say that something of lower ones is gone.
const (
	whiteout = ".wh."
	opaque   = ".wh..wh..opq"
)

// put adds an entry of a layer to the tree below n.
func (n *node) put(h *tar.Header, layer int) {
	name := clean(h.Name)
	if name == "" {
		return
	}
	dir, base := path.Split(name)
	parent := n.make(strings.TrimSuffix(dir, "/"))
	switch {
	case base == opaque:
		parent.forget(layer)
		return
	case strings.HasPrefix(base, whiteout):
		if gone := parent.children[base[len(whiteout):]]; gone != nil && !gone.forget(layer) {
			delete(parent.children, base[len(whiteout):])
		}
		return
	}
	f := &File{Mode: h.FileInfo().Mode(), Size: h.Size, UID: h.Uid, GID: h.Gid, Capable: capable(h), layer: layer, name: name}
	switch h.Typeflag {
	case tar.TypeSymlink:
		f.Link = h.Linkname
	case tar.TypeLink:
		if other := n.at(clean(h.Linkname)); other != nil && other.file != nil {
			same := *other.file
			f = &same
		}
	}
	child := parent.children[base]
	if child == nil || !f.Mode.IsDir() {
		child = &node{}
	}
	child.file = f
	parent.children[base] = child
}

// capable reports whether a layer's entry has file capabilities, as tar programs write extended attributes down.
func capable(h *tar.Header) bool {
	for _, prefix := range []string{"SCHILY.xattr.", "LIBARCHIVE.xattr."} {
		if h.PAXRecords[prefix+"security.capability"] != "" {
			return true
		}
	}
	return false
}

// make returns the directory name, which is made where it is missing.
func (n *node) make(name string) *node {
	for part := range strings.SplitSeq(name, "/") {
		if part == "" {
			continue
		}
		n.directory()
		if n.children[part] == nil {
			n.children[part] = &node{}
		}
		n = n.children[part]
	}
	n.directory()
	return n
}

func (n *node) directory() {
	if n.children == nil {
		n.children = map[string]*node{}
	}
}

// forget removes what is from layers below layer; it reports whether something is left.
func (n *node) forget(layer int) bool {
	left := false
	for name, child := range n.children {
		if child.forget(layer) {
			left = true
		} else {
			delete(n.children, name)
		}
	}
	return left || n.file != nil && n.file.layer >= layer
}

// at returns what is at name, without following links; nil when there is nothing.
func (n *node) at(name string) *node {
	for part := range strings.SplitSeq(name, "/") {
		if part == "" {
			continue
		}
		if n = n.children[part]; n == nil {
			return nil
		}
	}
	return n
}

// maxLinks is how many symbolic links a path may lead through.
const maxLinks = 40

// Find follows a path and the symbolic links on it. Where it leads to nothing, the error is fs.ErrNotExist and the
// result says how far it came.
func (i *Image) Find(name string) (Found, error) {
	var f Found
	rest := strings.Split(name, "/")
	at, n, links := []string{}, i.root, 0
	for len(rest) > 0 {
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			at = at[:max(len(at)-1, 0)]
			n = i.root.at(strings.Join(at, "/"))
			continue
		}
		here := append(at[:len(at):len(at)], part)
		next := n.children[part]
		if next == nil {
			f.Path = "/" + strings.Join(append(here, rest...), "/")
			f.Way = append(f.Way, f.Path)
			return f, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
		}
		if next.file == nil || next.file.Mode&fs.ModeSymlink == 0 {
			at, n = here, next
			continue
		}
		if links++; links > maxLinks {
			return f, fmt.Errorf("%s leads through too many symbolic links", name)
		}
		f.Way = append(f.Way, "/"+strings.Join(here, "/"))
		if path.IsAbs(next.file.Link) {
			at, n = []string{}, i.root
		}
		rest = append(strings.Split(next.file.Link, "/"), rest...)
	}
	f.Path = "/" + strings.Join(at, "/")
	f.Way = append(f.Way, f.Path)
	f.File = File{Mode: fs.ModeDir | 0o755}
	if n.file != nil {
		f.File = *n.file
	}
	return f, nil
}

// Lookup returns what is at a path, without following a link at its end.
func (i *Image) Lookup(name string) (File, bool) {
	parent, err := i.Find(path.Dir("/" + clean(name)))
	if err != nil {
		return File{}, false
	}
	n := i.root.at(path.Join(clean(parent.Path), path.Base(name)))
	switch {
	case n == nil:
		return File{}, false
	case n.file == nil:
		return File{Mode: fs.ModeDir | 0o755}, true
	}
	return *n.file, true
}

// Read returns the content of a regular file, of at most limit bytes.
func (i *Image) Read(f Found, limit int64) ([]byte, error) {
	if !f.Mode.IsRegular() || f.name == "" {
		return nil, fmt.Errorf("%s is no file", f.Path)
	}
	if f.Size > limit {
		return nil, fmt.Errorf("%s has %d bytes, more than the %d that are expected", f.Path, f.Size, limit)
	}
	r, err := i.open(i.layers[f.layer])
	if err != nil {
		return nil, err
	}
	defer r.Close()
	for t := tar.NewReader(r); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("read %s of the saved image: %w", f.Path, fs.ErrNotExist)
		}
		if err != nil {
			return nil, fmt.Errorf("read %s of the saved image: %w", f.Path, err)
		}
		if clean(h.Name) == f.name && h.Typeflag == tar.TypeReg {
			return io.ReadAll(io.LimitReader(t, limit))
		}
	}
}

// Walk calls visit for everything below dir, by absolute paths without a certain order.
func (i *Image) Walk(dir string, visit func(name string, f File)) {
	if n := i.root.at(clean(dir)); n != nil {
		n.walk("/"+clean(dir), visit)
	}
}

func (n *node) walk(name string, visit func(string, File)) {
	for base, child := range n.children {
		p := path.Join(name, base)
		if child.file != nil {
			visit(p, *child.file)
		}
		child.walk(p, visit)
	}
}
