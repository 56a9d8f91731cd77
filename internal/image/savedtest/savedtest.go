// Package savedtest makes archives as engines save images, for tests.
package savedtest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// Layer is the entries of a layer in their order: files, directories (a name that ends in a slash) and links.
type Layer []tar.Header

// File is a regular file; Linkname holds its content until it is written.
func File(name, content string, mode int64) tar.Header {
	return tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(content)), Linkname: content}
}

// Dir is a directory.
func Dir(name string, mode int64) tar.Header {
	return tar.Header{Typeflag: tar.TypeDir, Name: strings.TrimSuffix(name, "/") + "/", Mode: mode}
}

// Link is a symbolic link.
func Link(name, target string) tar.Header {
	return tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777}
}

// Hard is a hard link.
func Hard(name, target string) tar.Header {
	return tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: target, Mode: 0o755}
}

// Image is an image to be saved.
type Image struct {
	Config   map[string]any // of "config"
	Layers   []Layer
	Compress string // of the layers: "", "gzip" or "zstd"
}

// Save returns the archive, with a history entry for each layer.
func (i Image) Save(t *testing.T) *bytes.Reader {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	put := func(h tar.Header, content []byte) {
		h.Size, h.Mode = int64(len(content)), 0o644
		check(t, w.WriteHeader(&h))
		_, err := w.Write(content)
		check(t, err)
	}
	var names, ids []string
	var history []map[string]any
	seen := map[string]string{}
	for n, l := range i.Layers {
		raw := l.Tar(t)
		sum := sha256.Sum256(raw)
		id := hex.EncodeToString(sum[:])
		name := fmt.Sprintf("%d/layer.tar", n)
		if first, twice := seen[id]; twice {
			check(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: "../" + first}))
		} else {
			put(tar.Header{Typeflag: tar.TypeReg, Name: name}, compressed(t, i.Compress, raw))
			seen[id] = name
		}
		names, ids = append(names, name), append(ids, "sha256:"+id)
		history = append(history, map[string]any{"created_by": "test"})
	}
	config, err := json.Marshal(map[string]any{
		"architecture": "amd64", "os": "linux", "created": "2026-01-02T03:04:05Z", "config": i.Config, "history": append(history, map[string]any{"empty_layer": true}),
		"rootfs": map[string]any{"type": "layers", "diff_ids": ids}, "variant": "v1",
	})
	check(t, err)
	put(tar.Header{Typeflag: tar.TypeReg, Name: "config.json"}, config)
	manifest, err := json.Marshal([]map[string]any{{"Config": "config.json", "RepoTags": []string{"base:1"}, "Layers": names}})
	check(t, err)
	put(tar.Header{Typeflag: tar.TypeReg, Name: "manifest.json"}, manifest)
	check(t, w.Close())
	return bytes.NewReader(out.Bytes())
}

// Tar is the layer as engines have it.
func (l Layer) Tar(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range l {
		content := ""
		if h.Typeflag == tar.TypeReg {
			content, h.Linkname = h.Linkname, ""
		}
		check(t, w.WriteHeader(&h))
		_, err := w.Write([]byte(content))
		check(t, err)
	}
	check(t, w.Close())
	return b.Bytes()
}

func compressed(t *testing.T, how string, raw []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	switch how {
	case "gzip":
		z := gzip.NewWriter(&b)
		_, err := z.Write(raw)
		check(t, err)
		check(t, z.Close())
	case "zstd":
		z, err := zstd.NewWriter(&b)
		check(t, err)
		_, err = z.Write(raw)
		check(t, err)
		check(t, z.Close())
	default:
		return raw
	}
	return b.Bytes()
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
