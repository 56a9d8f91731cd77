package config

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Edit changes the file at path while no other Edit does: it reads the file (a missing one counts as
// empty), lets change work on it and puts the result in its place at once, with the owner and mode of
// the old file, 0600 for a new one. Symbolic links are followed. When change fails or changes
// nothing, nothing is written. That the place can be written is certain before change is called.
func Edit(ctx context.Context, path string, opts Options, change func(*Draft) error) error {
	target, err := resolveLinks(path)
	if err != nil {
		return fmt.Errorf("edit configuration: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o700); err != nil {
		return fmt.Errorf("edit configuration: %w", err)
	}
	unlock, err := lockDir(ctx, filepath.Dir(target))
	if err != nil {
		return fmt.Errorf("edit configuration: %w", err)
	}
	defer unlock()
	text, _, err := read(target)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	d, err := NewDraft(path, text, opts)
	if err != nil {
		return err
	}
	r, err := newReplacement(target)
	if err != nil {
		return fmt.Errorf("edit configuration: %w", err)
	}
	defer r.discard()
	if err := change(d); err != nil {
		return err
	}
	if bytes.Equal(d.text, text) {
		return nil
	}
	if err := r.commit(d.text); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	return nil
}

// Draft is a config.toml that is being edited. What the user wrote in it, comments and order too,
// stays as it is except for what an operation is about.
type Draft struct {
	path   string
	opts   Options
	text   []byte
	config *Config
}

// NewDraft begins to edit text, which must be valid. path is for messages and relative paths.
func NewDraft(path string, text []byte, opts Options) (*Draft, error) {
	c, err := parse(path, text, opts)
	if err != nil {
		return nil, err
	}
	return &Draft{path: path, opts: opts, text: text, config: c}, nil
}

// Config is the file as it stands, with defaults. It is replaced, not changed, by an operation.
func (d *Draft) Config() *Config { return d.config }

// Text is the file as it stands.
func (d *Draft) Text() []byte { return slices.Clone(d.text) }

// update takes text as the new state when it is valid and holds so many runners.
func (d *Draft) update(text []byte, runners int) error {
	c, err := parse(d.path, text, d.opts)
	if err != nil {
		return fmt.Errorf("the edited configuration would not be valid, so it is left as it was: %w", err)
	}
	if len(c.Runners) != runners {
		return fmt.Errorf("%s: the edit would leave %d runners instead of %d, so it is left as it was; write the entries as [[runners]]",
			d.path, len(c.Runners), runners)
	}
	d.text, d.config = text, c
	return nil
}

// Append adds r as the last [[runners]] entry. Only what is set in r is written.
func (d *Draft) Append(r *Runner) error {
	text, err := d.withHeaders()
	if err != nil {
		return err
	}
	var b bytes.Buffer
	b.Write(text)
	if len(text) > 0 && text[len(text)-1] != '\n' {
		b.WriteByte('\n')
	}
	if len(bytes.TrimSpace(text)) > 0 {
		b.WriteByte('\n')
	}
	b.WriteString(render(r))
	return d.update(b.Bytes(), len(d.config.Runners)+1)
}

// Remove takes the [[runners]] entries with these indexes out, with the comments that stand
// directly above or inside them.
func (d *Draft) Remove(indexes ...int) error {
	if len(indexes) == 0 {
		return nil
	}
	text, err := d.withHeaders()
	if err != nil {
		return err
	}
	doc, err := parseDocument(text)
	if err != nil {
		return err
	}
	var out []byte
	from := 0
	for _, s := range doc.segments(indexes) {
		out = append(out, text[from:s.from]...)
		from = s.to
	}
	out = append(out, text[from:]...)
	return d.update(out, len(d.config.Runners)-len(indexes))
}

// CanSetToken says why SetToken could not keep a new token of this runner; nil when it can.
func (d *Draft) CanSetToken(index int) error {
	r := d.config.Runners[index]
	at := join(element("runners", index), "token")
	switch {
	case r.TokenFile != "":
		return Problem{File: d.path, Line: r.Line, Key: at, Message: "is kept in token_file, which other programs own: change it there"}
	case strings.Contains(r.rawToken, "$"):
		return Problem{File: d.path, Line: r.Line, Key: at, Message: "comes from an environment variable: change it there"}
	}
	doc, err := parseDocument(d.text)
	if err != nil {
		return err
	}
	if _, ok := doc.values[at]; !ok {
		return Problem{File: d.path, Line: r.Line, Key: at, Message: "is missing or not in lower case: write it as token"}
	}
	return nil
}

// SetToken replaces a runner's token and the dates that go with it. A zero expires means never.
func (d *Draft) SetToken(index int, token string, obtained, expires time.Time) error {
	if err := d.CanSetToken(index); err != nil {
		return err
	}
	at := element("runners", index)
	for _, v := range []struct{ key, value string }{
		{"token", quote(token)},
		{"token_expires_at", date(expires)},
		{"token_obtained_at", date(obtained)}, // a new line goes before that of the expiry
	} {
		text, err := setValue(d.text, at, v.key, v.value)
		if err != nil {
			return err
		}
		if err := d.update(text, len(d.config.Runners)); err != nil {
			return err
		}
	}
	if got := d.config.Runners[index]; got.Token != token {
		return Problem{File: d.path, Line: got.Line, Key: join(at, "token"), Message: "could not be replaced: the file sets it in another place, too"}
	}
	return nil
}

// setValue replaces the value of a key of a [[runners]] entry, or adds the key after its token.
func setValue(text []byte, at, key, value string) ([]byte, error) {
	doc, err := parseDocument(text)
	if err != nil {
		return nil, err
	}
	if offset, ok := doc.at[join(at, key)]; ok {
		from, to := valueSpan(doc, join(at, key), offset)
		return slices.Concat(text[:from], []byte(value), text[to:]), nil
	}
	token := join(at, "token")
	_, end := valueSpan(doc, token, doc.at[token])
	start := doc.lineStart(doc.at[token])
	indent := text[start:doc.at[token]]
	if !slices.ContainsFunc(doc.items, func(it item) bool { return it.path == token }) { // inside an inline table
		return slices.Concat(text[:end], []byte(", "+key+" = "+value), text[end:]), nil
	}
	line := slices.Concat(indent, []byte(key+" = "+value+"\n"))
	after := doc.lineEnd(end)
	if after > 0 && text[after-1] != '\n' {
		line = slices.Concat([]byte("\n"), line)
	}
	return slices.Concat(text[:after], line, text[after:]), nil
}

// valueSpan finds the bytes of a value that is a string or a date on one line.
func valueSpan(doc *document, path string, key int) (from, to int) {
	if s, ok := doc.values[path]; ok {
		return s.from, s.to
	}
	from = key + bytes.IndexByte(doc.text[key:], '=') + 1
	for from < len(doc.text) && (doc.text[from] == ' ' || doc.text[from] == '\t') {
		from++
	}
	to = from
	for to < len(doc.text) && !bytes.ContainsRune([]byte(",}#\r\n"), rune(doc.text[to])) {
		to++
	}
	return from, from + len(bytes.TrimRight(doc.text[from:to], " \t"))
}

func date(t time.Time) string { return t.UTC().Truncate(time.Second).Format(time.RFC3339) }
