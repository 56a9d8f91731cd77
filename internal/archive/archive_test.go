package archive_test

import (
	"archive/zip"
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/archive"
)

// node is what a test compares of a file.
type node struct {
	Mode    fs.FileMode
	Content string // or a link's target
	Time    int64  // seconds; not of links
}

// snapshot reads a directory tree.
func snapshot(t testing.TB, dir string) map[string]node {
	t.Helper()
	got := make(map[string]node)
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		n := node{Mode: info.Mode(), Time: info.ModTime().Unix()}
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			n.Time = 0
			n.Content, err = os.Readlink(p)
		case info.Mode().IsRegular():
			var b []byte
			b, err = os.ReadFile(p)
			n.Content = string(b)
		}
		rel, _ := filepath.Rel(dir, p)
		got[rel] = n
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// names lists what is in a tree, sorted.
func names(tree map[string]node) []string {
	list := make([]string, 0, len(tree))
	for name := range tree {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}

func openRoot(t testing.TB, dir string) *os.Root {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	return root
}

// text returns n bytes that compress like source code.
func text(r *rand.Rand, n int) []byte {
	words := []string{"func", "return", "error", "context", "package", "the", "of", "if err != nil {\n", "}\n", "archive"}
	var b bytes.Buffer
	for b.Len() < n {
		fmt.Fprintf(&b, "%s %x ", words[r.IntN(len(words))], r.IntN(1<<12))
	}
	return b.Bytes()[:n]
}

func noise(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// sample makes a tree with one of everything.
func sample(t testing.TB) string {
	t.Helper()
	dir := smallSample(t)
	r := rand.New(rand.NewPCG(1, 2))
	for name, content := range map[string][]byte{
		"text.big":   text(r, 3<<20+12345),
		"noise.big":  noise(r, 2<<20+1),
		"exactly.1m": text(r, 1<<20),
		"exactly.4m": bytes.Repeat([]byte("abcdefgh"), 1<<19),
		"half":       append(noise(r, 1<<20), text(r, 2<<20)...),
	} {
		must(t, os.WriteFile(filepath.Join(dir, name), content, 0o644))
	}
	return dir
}

// smallSample is sample without files that are cut into blocks, except one.
func smallSample(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	r := rand.New(rand.NewPCG(1, 2))
	files := map[string][]byte{
		"empty":               nil,
		"one":                 []byte("1"),
		"a/b/c/deep.txt":      text(r, 5000),
		"a-b":                 []byte("sorts between a and a/b"),
		"ünïcode/日本語.txt":     []byte("named in UTF-8"),
		"bad\xff\xfename":     []byte("not UTF-8"),
		"odd \\ name\nof two": []byte("odd"),
		"block":               text(r, 2<<20+100),
		"tool":                []byte("#!/bin/sh\n"),
		strings.Repeat("long/", 40) + strings.Repeat("n", 200): []byte("a long name"),
	}
	for name, content := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	must(t, os.Chmod(filepath.Join(dir, "tool"), 0o755))
	must(t, os.Chmod(filepath.Join(dir, "one"), 0o600))
	must(t, os.MkdirAll(filepath.Join(dir, "void/inner"), 0o750))
	must(t, os.Symlink("../one", filepath.Join(dir, "a/link")))
	must(t, os.Symlink("/etc/passwd", filepath.Join(dir, "outward")))
	must(t, os.Symlink("nowhere", filepath.Join(dir, "dangling")))
	must(t, os.Chmod(filepath.Join(dir, "a/b"), 0o555))
	for name := range snapshot(t, dir) {
		p := filepath.Join(dir, name)
		if info, err := os.Lstat(p); err == nil && info.Mode()&fs.ModeSymlink == 0 {
			stamp := time.Unix(1_600_000_000+int64(len(name)), 0)
			must(t, os.Chtimes(p, stamp, stamp))
		}
	}
	return dir
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// create packs everything in dir.
func create(t testing.TB, dir string, o archive.Options) []byte {
	t.Helper()
	var buf bytes.Buffer
	list := names(snapshot(t, dir))
	st, err := archive.Create(context.Background(), &buf, openRoot(t, dir), list, o)
	must(t, err)
	if st.Files != len(list) || st.Size != int64(buf.Len()) {
		t.Errorf("stats = %+v, want %d files, %d bytes", st, len(list), buf.Len())
	}
	return buf.Bytes()
}

func extract(t testing.TB, b []byte, o archive.Options) (string, error) {
	t.Helper()
	dir := t.TempDir()
	_, err := archive.Extract(context.Background(), bytes.NewReader(b), int64(len(b)), openRoot(t, dir), o)
	return dir, err
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	whole, small := sample(t), smallSample(t)
	for _, format := range []archive.Format{archive.Zip, archive.ZipZstd, archive.TarZstd} {
		for _, level := range []archive.Level{archive.Fastest, archive.Fast, archive.Default, archive.Slow, archive.Slowest} {
			for _, workers := range []int{1, 4} {
				dir := small
				switch {
				case level == archive.Default:
					dir = whole
				case workers == 1:
					continue
				}
				want := snapshot(t, dir)
				t.Run(fmt.Sprintf("%s/%s/%d", format, level, workers), func(t *testing.T) {
					t.Parallel()
					o := archive.Options{Format: format, Level: level, Workers: workers}
					b := create(t, dir, o)
					got, err := extract(t, b, archive.Options{Workers: workers})
					must(t, err)
					if diff := cmp.Diff(want, snapshot(t, got)); diff != "" {
						t.Errorf("extracted tree differs (-want +got):\n%.2000s", diff)
					}
				})
			}
		}
	}
}

// What we write does not depend on who was faster.
func TestCreateIsDeterministic(t *testing.T) {
	t.Parallel()
	dir := sample(t)
	for _, format := range []archive.Format{archive.Zip, archive.TarZstd} {
		one := create(t, dir, archive.Options{Format: format, Workers: 1})
		many := create(t, dir, archive.Options{Format: format, Workers: 7})
		if !bytes.Equal(one, many) {
			t.Errorf("%s: the archives of 1 and of 7 workers differ", format)
		}
	}
}

// GitLab and GitLab Runner read zips with Go's package.
func TestZipForGo(t *testing.T) {
	t.Parallel()
	dir := sample(t)
	want := snapshot(t, dir)
	b := create(t, dir, archive.Options{})
	zr, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
	must(t, err)
	got := make(map[string]node)
	for _, f := range zr.File {
		rc, err := f.Open()
		must(t, err)
		content, err := io.ReadAll(rc)
		must(t, err)
		n := node{Mode: f.Mode(), Content: string(content), Time: f.Modified.Unix()}
		if n.Mode&fs.ModeSymlink != 0 {
			n.Time = 0
		}
		got[strings.TrimSuffix(f.Name, "/")] = n
		if marked := f.Flags&0x800 != 0; marked != utf8.ValidString(f.Name) {
			t.Errorf("%q: marked as UTF-8: %v", f.Name, marked)
		}
	}
	if diff := cmp.Diff(want, got, ignoreLinkMode); diff != "" {
		t.Errorf("archive differs (-want +got):\n%.2000s", diff)
	}
}

var ignoreLinkMode = cmp.Transformer("mode", func(n node) node {
	if n.Mode&fs.ModeSymlink != 0 {
		n.Mode = fs.ModeSymlink
	}
	return n
})

func TestZipForOthers(t *testing.T) {
	t.Parallel()
	dir := sample(t)
	file := filepath.Join(t.TempDir(), "a.zip")
	must(t, os.WriteFile(file, create(t, dir, archive.Options{}), 0o600))
	for _, tool := range [][]string{
		{"unzip", "-tqq", file},
		{"python3", "-c", "import sys,zipfile; sys.exit(1 if zipfile.ZipFile(sys.argv[1]).testzip() else 0)", file},
	} {
		if _, err := exec.LookPath(tool[0]); err != nil {
			continue // not part of every machine; TestZipForGo is
		}
		if out, err := exec.Command(tool[0], tool[1:]...).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", tool[0], err, out)
		}
	}
}
