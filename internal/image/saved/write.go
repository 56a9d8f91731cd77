package saved

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
)

// Change says how an image differs from the one that it is made of.
type Change struct {
	// Tag is the new image's name, with its tag.
	Tag string
	// Drop says what is left out of every layer, by names without a slash before them. A directory is not left out with what is in
	// it. nil: nothing.
	Drop func(name string) bool
	// DropVolume says which of the configuration's volumes are left out. nil: none.
	DropVolume func(path string) bool
	// Top is a tar archive, the uppermost layer; empty: there is none.
	Top []byte
	// Env and Labels are set, in the place of those of the same name.
	Env, Labels map[string]string
	// User has the image's containers run as somebody else; empty: as whom the image says.
	User string
	// By is who made it, for the image's history.
	By string
}

// made is a layer to be written.
type made struct {
	diffID string
	size   int64
	write  func(io.Writer) error
}

// Write writes the changed image as an archive that engines load. The same image and change give the same bytes.
func (i *Image) Write(out io.Writer, c Change) error {
	layers, err := i.change(c)
	if err != nil {
		return err
	}
	config, err := i.configure(c, layers)
	if err != nil {
		return fmt.Errorf("write the image's configuration: %w", err)
	}
	w := tar.NewWriter(out)
	file := func(name string, size int64, write func(io.Writer) error) error {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644}); err != nil {
			return err
		}
		return write(w)
	}
	text := func(name string, content []byte) error {
		return file(name, int64(len(content)), func(w io.Writer) error { _, err := w.Write(content); return err })
	}
	sum := sha256.Sum256(config)
	configName := hex.EncodeToString(sum[:]) + ".json"
	err = text(configName, config)
	var names []string
	for _, l := range layers {
		name := strings.TrimPrefix(l.diffID, "sha256:") + ".tar"
		if err == nil && !slices.Contains(names, name) {
			err = file(name, l.size, l.write)
		}
		names = append(names, name)
	}
	manifest, encodeErr := json.Marshal([]map[string]any{{"Config": configName, "RepoTags": []string{c.Tag}, "Layers": names}})
	if err = errors.Join(err, encodeErr); err == nil {
		err = text("manifest.json", manifest)
	}
	if err = errors.Join(err, w.Close()); err != nil {
		return fmt.Errorf("write the image: %w", err)
	}
	return nil
}

// change works out what layers the new image has.
func (i *Image) change(c Change) ([]made, error) {
	var layers []made
	for n, l := range i.layers {
		m := made{diffID: l.diffID, size: l.size, write: func(w io.Writer) error { return i.copy(w, l) }}
		drops, err := i.drops(l, c.Drop)
		if err == nil && drops {
			m.write = func(w io.Writer) error { return i.filter(w, l, c.Drop) }
			m.diffID, m.size, err = measure(m.write)
		}
		if err != nil {
			return nil, fmt.Errorf("leave files out of layer %d of the image: %w", n+1, err)
		}
		layers = append(layers, m)
	}
	if len(c.Top) > 0 {
		m := made{write: func(w io.Writer) error { _, err := w.Write(c.Top); return err }}
		m.diffID, m.size, _ = measure(m.write) // nothing can fail
		layers = append(layers, m)
	}
	return layers, nil
}

// measure returns the digest and the size of what write writes.
func measure(write func(io.Writer) error) (digest string, size int64, err error) {
	h := sha256.New()
	var n length
	err = write(io.MultiWriter(h, &n))
	return "sha256:" + hex.EncodeToString(h.Sum(nil)), int64(n), err
}

type length int64

func (n *length) Write(p []byte) (int, error) {
	*n += length(len(p))
	return len(p), nil
}

func (i *Image) copy(w io.Writer, l layer) error {
	r, err := i.open(l)
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.Copy(w, r)
	return err
}

// drops reports whether something is left out of a layer.
func (i *Image) drops(l layer, drop func(string) bool) (bool, error) {
	if drop == nil {
		return false, nil
	}
	r, err := i.open(l)
	if err != nil {
		return false, err
	}
	defer r.Close()
	for t := tar.NewReader(r); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		if err != nil || drop(clean(h.Name)) {
			return err == nil, err
		}
	}
}

// filter writes a layer without what is left out.
func (i *Image) filter(w io.Writer, l layer, drop func(string) bool) error {
	r, err := i.open(l)
	if err != nil {
		return err
	}
	defer r.Close()
	out := tar.NewWriter(w)
	for t := tar.NewReader(r); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return out.Close()
		}
		if err != nil {
			return err
		}
		if drop(clean(h.Name)) {
			continue
		}
		if h.Typeflag == tar.TypeLink && drop(clean(h.Linkname)) {
			return fmt.Errorf("/%s is a hard link to /%s, which is to be left out: make a copy of it in the image", clean(h.Name), clean(h.Linkname))
		}
		if err := out.WriteHeader(h); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
		if _, err := io.Copy(out, t); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
}

// configure returns the new image's configuration: the old one where nothing is changed, also what is not known here.
func (i *Image) configure(c Change, layers []made) ([]byte, error) {
	raw := maps.Clone(i.raw)
	inner := map[string]json.RawMessage{}
	if raw["config"] != nil {
		if err := json.Unmarshal(raw["config"], &inner); err != nil {
			return nil, err
		}
		if inner == nil { // null
			inner = map[string]json.RawMessage{}
		}
	}
	if c.User != "" {
		if err := set(inner, "User", c.User); err != nil {
			return nil, err
		}
	}
	labels := maps.Clone(i.Config.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	maps.Copy(labels, c.Labels)
	volumes := maps.Clone(i.Config.Volumes)
	maps.DeleteFunc(volumes, func(p string, _ struct{}) bool { return c.DropVolume != nil && c.DropVolume(path.Clean(p)) })
	var ids []string
	for _, l := range layers {
		ids = append(ids, l.diffID)
	}
	err := errors.Join(
		set(inner, "Env", setEnv(i.Config.Env, c.Env)), set(inner, "Labels", labels), set(inner, "Volumes", volumes),
		set(raw, "config", inner), set(raw, "rootfs", map[string]any{"type": "layers", "diff_ids": ids}),
		i.chronicle(raw, c),
	)
	if err != nil {
		return nil, err
	}
	return json.Marshal(raw)
}

// chronicle adds the layer on top to the history, where there is one of all the other layers.
func (i *Image) chronicle(raw map[string]json.RawMessage, c Change) error {
	var history []map[string]json.RawMessage
	if raw["history"] != nil {
		if err := json.Unmarshal(raw["history"], &history); err != nil {
			return err
		}
	}
	full := 0
	for _, h := range history {
		if string(h["empty_layer"]) != "true" {
			full++
		}
	}
	if full != len(i.layers) || len(c.Top) == 0 {
		return nil
	}
	entry := map[string]json.RawMessage{}
	if raw["created"] != nil {
		entry["created"] = raw["created"]
	}
	return errors.Join(set(entry, "created_by", c.By), set(raw, "history", append(history, entry)))
}

func set(m map[string]json.RawMessage, key string, value any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(value); err != nil {
		return err
	}
	m[key] = bytes.TrimSpace(b.Bytes())
	return nil
}

// setEnv returns env with the variables of more in it.
func setEnv(env []string, more map[string]string) []string {
	out := slices.DeleteFunc(slices.Clone(env), func(e string) bool {
		name, _, _ := strings.Cut(e, "=")
		_, replaced := more[name]
		return replaced
	})
	for _, name := range slices.Sorted(maps.Keys(more)) {
		out = append(out, name+"="+more[name])
	}
	return out
}
