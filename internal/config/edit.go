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

	"gitlab.com/skerry/skerry/internal/config/schema"
	"gitlab.com/skerry/skerry/internal/wholefile"
)

// Edit changes the file at path while no other Edit does: it reads the file (a missing one counts as
// empty), lets change work on it and puts the result in its place at once, with the owner and mode of
// the old file, 0600 for a new one and for one that every user could read. Symbolic links are followed. When change fails or changes
// nothing, nothing is written. That the place can be written is certain before change is called.
func Edit(ctx context.Context, path string, opts Options, change func(*Draft) error) error {
	target, err := wholefile.Resolve(path)
	if err != nil {
		return fmt.Errorf("edit configuration: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o700); err != nil {
		return fmt.Errorf("edit configuration: %w", err)
	}
	unlock, err := wholefile.Lock(ctx, filepath.Dir(target))
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
	r, err := wholefile.New(target)
	if err != nil {
		return fmt.Errorf("edit configuration: %w", err)
	}
	defer r.Discard()
	if err := change(d); err != nil {
		return err
	}
	if bytes.Equal(d.Text(), text) {
		return nil
	}
	if err := r.Commit(d.Text()); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	return nil
}

// Draft is a config.toml that is being edited. What the user wrote in it, comments and order too,
// stays as it is except for what an operation is about.
type Draft struct {
	path   string
	opts   Options
	mark   []byte // the byte order mark before text, if any
	text   []byte
	config *Config
}

// NewDraft begins to edit text, which must be valid. path is for messages and relative paths.
func NewDraft(path string, text []byte, opts Options) (*Draft, error) {
	c, err := parse(path, text, opts)
	if err != nil {
		return nil, err
	}
	rest := bytes.TrimPrefix(text, []byte(byteOrderMark))
	return &Draft{path: path, opts: opts, mark: text[:len(text)-len(rest)], text: rest, config: c}, nil
}

// Config is the file as it stands, with defaults. It is replaced, not changed, by an operation.
func (d *Draft) Config() *Config { return d.config }

// Text is the file as it stands.
func (d *Draft) Text() []byte { return slices.Concat(d.mark, d.text) }

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
	b.WriteString(schema.Render("runners", r))
	return d.update(withLineEnds(b.Bytes(), text), len(d.config.Runners)+1)
}

// withLineEnds gives what text has beyond old the line ends of old's first line.
func withLineEnds(text, old []byte) []byte {
	if first, _, _ := bytes.Cut(old, []byte("\n")); !bytes.HasSuffix(first, []byte("\r")) {
		return text
	}
	return slices.Concat(old, bytes.ReplaceAll(text[len(old):], []byte("\n"), []byte("\r\n")))
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
	doc, err := schema.Parse(text)
	if err != nil {
		return err
	}
	return d.update(doc.Without("runners", indexes...), len(d.config.Runners)-len(indexes))
}

// CanRemove says why Remove could not take these entries out; nil when it can.
func (d *Draft) CanRemove(indexes ...int) error {
	trial := *d // operations replace what a draft holds, they do not change it
	return trial.Remove(indexes...)
}

// CanSetToken says why SetToken could not keep a new token of this runner; nil when it can.
func (d *Draft) CanSetToken(index int) error {
	r := d.config.Runners[index]
	at := schema.Join(schema.Element("runners", index), "token")
	switch {
	case r.TokenFile != "":
		return Problem{File: d.path, Line: r.Line, Key: at, Message: "is kept in token_file, which other programs own: change it there"}
	case strings.Contains(r.rawToken, "$"):
		return Problem{File: d.path, Line: r.Line, Key: at, Message: "comes from an environment variable: change it there"}
	}
	doc, err := schema.Parse(d.text)
	if err != nil {
		return err
	}
	if !doc.IsString(at) {
		return Problem{File: d.path, Line: r.Line, Key: at, Message: "is missing or not in lower case: write it as token"}
	}
	return nil
}

// SetToken replaces a runner's token and the dates that go with it. A zero expires means never.
func (d *Draft) SetToken(index int, token string, obtained, expires time.Time) error {
	if err := d.CanSetToken(index); err != nil {
		return err
	}
	at := schema.Element("runners", index)
	for _, v := range []struct{ key, value string }{
		{"token", schema.Quote(token)},
		{"token_expires_at", schema.Date(expires)},
		{"token_obtained_at", schema.Date(obtained)}, // a new line goes before that of the expiry
	} {
		doc, err := schema.Parse(d.text)
		if err != nil {
			return err
		}
		if err := d.update(doc.WithValue(at, v.key, v.value, "token"), len(d.config.Runners)); err != nil {
			return err
		}
	}
	if got := d.config.Runners[index]; got.Token != token {
		return Problem{File: d.path, Line: got.Line, Key: schema.Join(at, "token"), Message: "could not be replaced: the file sets it in another place, too"}
	}
	return nil
}

// withHeaders returns the text with its runners as [[runners]] entries. They are that already
// unless somebody wrote runners = [...], as programs that rewrite TOML do; then that one value is
// replaced by entries at the end, because nothing can be appended to it. Comments in it go with them.
func (d *Draft) withHeaders() ([]byte, error) {
	doc, err := schema.Parse(d.text)
	if err != nil {
		return nil, err
	}
	rest, inline := doc.WithoutKey("runners")
	if !inline {
		return d.text, nil
	}
	raw, _, err := decode(d.path, d.text)
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	b.Write(rest)
	for i := range len(raw.Runners) + 1 {
		if s := b.String(); s != "" && !strings.HasSuffix(s, "\n") {
			b.WriteByte('\n')
		}
		comments := doc.Comments("runners", i)
		if i < len(raw.Runners) || len(comments) > 0 {
			b.WriteByte('\n')
		}
		for _, c := range comments {
			b.WriteString(c + "\n")
		}
		if i < len(raw.Runners) {
			b.WriteString(schema.Render("runners", raw.Runners[i]))
		}
	}
	return []byte(b.String()), nil
}
