// Package saved reads an image as engines save it (`docker save`, GET /images/NAME/get), looks at the file system that its
// layers make, and writes it anew with files left out, a layer on top and another configuration. No container is made for it, and
// layers that nothing is left out of stay the same, so that engines go on to share them with the image that they came from.
package saved

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// maxJSON bounds a manifest and a configuration, in bytes.
const maxJSON = 16 << 20

// Image is the one image of an archive. It reads the archive whenever it is used, and changes nothing in it. It is not for
// concurrent use.
type Image struct {
	// Config is what of the image's configuration decides how containers begin.
	Config Config

	archive io.ReaderAt
	parts   map[string]part
	layers  []layer // the lowest first
	raw     map[string]json.RawMessage
	root    *node
}

// Config is a part of an image's configuration.
type Config struct {
	User       string
	Env        []string
	Entrypoint []string
	Cmd        []string
	Labels     map[string]string
	Volumes    map[string]struct{}
}

// part is a file of the archive.
type part struct {
	offset, size int64
	link         string // the name of another one, with the same content
}

type layer struct {
	part   part
	diffID string // "sha256:…", of the uncompressed layer
	size   int64  // uncompressed
}

// errShape says that an archive is not what it should be.
var errShape = errors.New("is no archive of one image")

// Open reads all layers of an archive once.
func Open(archive io.ReaderAt, size int64) (*Image, error) {
	i := &Image{archive: archive, parts: map[string]part{}, root: &node{}}
	if err := i.index(size); err != nil {
		return nil, fmt.Errorf("read the saved image: %w", err)
	}
	if err := i.describe(); err != nil {
		return nil, fmt.Errorf("read the saved image: %w", err)
	}
	for n := range i.layers {
		if err := i.look(n); err != nil {
			return nil, fmt.Errorf("read layer %d of the saved image: %w", n+1, err)
		}
	}
	return i, nil
}

// index notes where the files of the archive are.
func (i *Image) index(size int64) error {
	section := io.NewSectionReader(i.archive, 0, size)
	for r := tar.NewReader(section); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		name := clean(h.Name)
		switch h.Typeflag {
		case tar.TypeReg:
			at, err := section.Seek(0, io.SeekCurrent) // the reader has read whole blocks, up to the content
			if err != nil {
				return err
			}
			i.parts[name] = part{offset: at, size: h.Size}
		case tar.TypeSymlink: // Docker writes a layer that comes twice so
			i.parts[name] = part{link: clean(path.Join(path.Dir(name), h.Linkname))}
		case tar.TypeLink:
			i.parts[name] = part{link: clean(h.Linkname)}
		}
	}
}

// find returns a file of the archive.
func (i *Image) find(name string) (part, error) {
	p, ok := i.parts[clean(name)]
	if ok && p.link != "" {
		p, ok = i.parts[p.link]
	}
	if !ok || p.link != "" {
		return part{}, fmt.Errorf("%w: it has no %s", errShape, name)
	}
	return p, nil
}

func (i *Image) decode(name string, into any) error {
	p, err := i.find(name)
	if err != nil {
		return err
	}
	if p.size > maxJSON {
		return fmt.Errorf("%w: %s has %d bytes", errShape, name, p.size)
	}
	if err := json.NewDecoder(io.NewSectionReader(i.archive, p.offset, p.size)).Decode(into); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// describe reads what the archive says of the image.
func (i *Image) describe() error {
	var manifest []struct {
		Config string
		Layers []string
	}
	if err := i.decode("manifest.json", &manifest); err != nil {
		return err
	}
	if len(manifest) != 1 {
		return fmt.Errorf("%w: it has %d images", errShape, len(manifest))
	}
	if err := i.decode(manifest[0].Config, &i.raw); err != nil {
		return err
	}
	var rootfs struct {
		DiffIDs []string `json:"diff_ids"`
	}
	for key, into := range map[string]any{"config": &i.Config, "rootfs": &rootfs} {
		if raw := i.raw[key]; raw != nil {
			if err := json.Unmarshal(raw, into); err != nil {
				return fmt.Errorf("%s: %w", manifest[0].Config, err)
			}
		}
	}
	if len(rootfs.DiffIDs) != len(manifest[0].Layers) {
		return fmt.Errorf("%w: it has %d layers, and names %d", errShape, len(manifest[0].Layers), len(rootfs.DiffIDs))
	}
	for n, name := range manifest[0].Layers {
		p, err := i.find(name)
		if err != nil {
			return err
		}
		i.layers = append(i.layers, layer{part: p, diffID: rootfs.DiffIDs[n]})
	}
	return nil
}

// look puts the files of a layer into the tree, and measures it.
func (i *Image) look(n int) error {
	r, err := i.open(i.layers[n])
	if err != nil {
		return err
	}
	defer r.Close()
	counted := &counter{Reader: r}
	var in io.Reader = counted
	seeker, plain := r.(io.Seeker)
	if plain {
		in = r // the tar reader skips contents
		i.layers[n].size, err = seeker.Seek(0, io.SeekEnd)
		if err == nil {
			_, err = seeker.Seek(0, io.SeekStart)
		}
		if err != nil {
			return err
		}
	}
	for t := tar.NewReader(in); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		i.root.put(h, n)
	}
	if plain {
		return nil
	}
	_, err = io.Copy(io.Discard, counted)
	i.layers[n].size = counted.n
	return err
}

type counter struct {
	io.Reader

	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += int64(n)
	return n, err
}

// plainLayer is a layer that is not compressed, and can be skipped in.
type plainLayer struct{ *io.SectionReader }

func (plainLayer) Close() error { return nil }

// open reads a layer, uncompressed.
func (i *Image) open(l layer) (io.ReadCloser, error) {
	section := io.NewSectionReader(i.archive, l.part.offset, l.part.size)
	var magic [4]byte
	if _, err := section.ReadAt(magic[:], 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	switch {
	case magic[0] == 0x1f && magic[1] == 0x8b:
		return gzip.NewReader(section)
	case string(magic[:]) == "\x28\xb5\x2f\xfd":
		d, err := zstd.NewReader(section)
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	}
	return plainLayer{section}, nil
}

// clean is the name of an entry as the tree knows it: without a slash before it or behind it; "" is the root.
func clean(name string) string { return strings.TrimPrefix(path.Clean("/"+name), "/") }
