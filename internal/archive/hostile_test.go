package archive_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"gitlab.com/skerry/skerry/internal/archive"
)

// evil is one entry of a made-up archive.
type evil struct {
	name    string
	mode    fs.FileMode
	content string // or a link's target
	hard    bool   // a hard link to content
}

func evilZip(t testing.TB, entries ...evil) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, e := range entries {
		h := &zip.FileHeader{Name: e.name, Method: zip.Deflate}
		h.SetMode(e.mode)
		f, err := w.CreateHeader(h)
		must(t, err)
		if e.mode.IsDir() {
			continue
		}
		_, err = f.Write([]byte(e.content))
		must(t, err)
	}
	must(t, w.Close())
	return b.Bytes()
}

func evilTar(t testing.TB, entries ...evil) []byte {
	t.Helper()
	var raw bytes.Buffer
	w := tar.NewWriter(&raw)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Mode: int64(e.mode.Perm()), Typeflag: tar.TypeReg, Size: int64(len(e.content))}
		if e.mode&fs.ModeSetuid != 0 {
			h.Mode |= 0o4000
		}
		switch {
		case e.hard:
			h.Typeflag, h.Linkname, h.Size = tar.TypeLink, e.content, 0
		case e.mode&fs.ModeSymlink != 0:
			h.Typeflag, h.Linkname, h.Size = tar.TypeSymlink, e.content, 0
		case e.mode.IsDir():
			h.Typeflag, h.Size = tar.TypeDir, 0
		case e.mode&fs.ModeDevice != 0:
			h.Typeflag, h.Devmajor, h.Devminor, h.Size = tar.TypeChar, 1, 3, 0
		case e.mode&fs.ModeNamedPipe != 0:
			h.Typeflag, h.Size = tar.TypeFifo, 0
		}
		must(t, w.WriteHeader(h))
		if h.Size > 0 {
			_, err := w.Write([]byte(e.content))
			must(t, err)
		}
	}
	must(t, w.Close())
	return raw.Bytes()
}

func zstdOf(t testing.TB, raw []byte) []byte {
	t.Helper()
	z, err := zstd.NewWriter(nil)
	must(t, err)
	return z.EncodeAll(raw, nil)
}

func gzipOf(t testing.TB, raw []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := z.Write(raw)
	must(t, err)
	must(t, z.Close())
	return b.Bytes()
}

// arena is a directory to extract into, with files around it that must not change.
type arena struct {
	top, dir string
	outside  map[string]node
}

func newArena(t testing.TB) *arena {
	t.Helper()
	a := &arena{top: t.TempDir()}
	a.dir = filepath.Join(a.top, "project")
	must(t, os.MkdirAll(filepath.Join(a.top, "secret/dir"), 0o755))
	must(t, os.WriteFile(filepath.Join(a.top, "canary"), []byte("alive"), 0o600))
	must(t, os.WriteFile(filepath.Join(a.top, "secret/dir/file"), []byte("alive"), 0o600))
	must(t, os.Mkdir(a.dir, 0o755))
	a.outside = a.look(t)
	return a
}

// look reads what is around the project.
func (a *arena) look(t testing.TB) map[string]node {
	t.Helper()
	all := snapshot(t, a.top)
	for name := range all {
		if name == "project" || strings.HasPrefix(name, "project/") {
			delete(all, name)
		}
	}
	return all
}

func (a *arena) extract(t testing.TB, b []byte, o archive.Options) error {
	t.Helper()
	_, err := archive.Extract(context.Background(), bytes.NewReader(b), int64(len(b)), openRoot(t, a.dir), o)
	return err
}

func (a *arena) unharmed(t testing.TB) {
	t.Helper()
	if diff := cmp.Diff(a.outside, a.look(t)); diff != "" {
		t.Errorf("extraction reached out of its directory (-before +after):\n%s", diff)
	}
}

const link = fs.ModeSymlink | 0o777

func TestExtractNeverLeaves(t *testing.T) {
	t.Parallel()
	tests := map[string][]evil{
		"dot dot":            {{name: "../canary", content: "dead", mode: 0o644}},
		"dot dot inside":     {{name: "a/../../canary", content: "dead", mode: 0o644}},
		"absolute":           {{name: "/../../canary", content: "dead", mode: 0o644}},
		"link then file":     {{name: "l", content: "../secret", mode: link}, {name: "l/dir/file", content: "dead", mode: 0o644}},
		"file then link":     {{name: "l/dir/file", content: "dead", mode: 0o644}, {name: "l", content: "../secret", mode: link}},
		"link as file":       {{name: "l", content: "../canary", mode: link}, {name: "l", content: "dead", mode: 0o644}},
		"link then dir":      {{name: "l", content: "../secret", mode: link}, {name: "l", mode: fs.ModeDir | 0o777}},
		"dir mode by link":   {{name: "l", mode: fs.ModeDir}, {name: "l", content: "../secret", mode: link}},
		"link chain":         {{name: "a", content: "..", mode: link}, {name: "b", content: "a/secret", mode: link}, {name: "b/dir/file", content: "dead", mode: 0o644}},
		"planted link":       {{name: "planted/dir/file", content: "dead", mode: 0o644}, {name: "planted/new", content: "dead", mode: 0o644}},
		"planted dir mode":   {{name: "planted", mode: fs.ModeDir}},
		"planted file":       {{name: "planted-file", content: "dead", mode: 0o777}},
		"hard link":          {{name: "h", content: "../canary", hard: true}, {name: "h", content: "dead", mode: 0o644}},
		"hard link absolute": {{name: "h", content: "/etc/passwd", hard: true}},
		"device":             {{name: "dev", mode: fs.ModeDevice | fs.ModeCharDevice | 0o666}},
		"pipe":               {{name: "pipe", mode: fs.ModeNamedPipe | 0o666}},
		"nul":                {{name: "a\x00b", content: "x", mode: 0o644}},
		"empty name":         {{name: "./", mode: fs.ModeDir | 0o700}, {name: ".", content: "x", mode: 0o644}},
	}
	for name, entries := range tests {
		for _, format := range []string{"zip", "zst", "gz"} {
			t.Run(name+"/"+format, func(t *testing.T) {
				t.Parallel()
				entries := entries
				if format == "zip" && entries[0].hard {
					entries = entries[1:] // a zip has none
				}
				a := newArena(t)
				must(t, os.Symlink("../secret", filepath.Join(a.dir, "planted")))
				must(t, os.Symlink("../canary", filepath.Join(a.dir, "planted-file")))
				var b []byte
				switch format {
				case "zip":
					b = evilZip(t, entries...)
				case "zst":
					b = zstdOf(t, tryTar(t, entries))
				case "gz":
					b = gzipOf(t, tryTar(t, entries))
				}
				err := a.extract(t, b, archive.Options{Workers: 3})
				t.Logf("result: %v", err)
				a.unharmed(t)
				checkKinds(t, a.dir)
			})
		}
	}
}

// tryTar leaves out what archive/tar refuses to write.
func tryTar(t testing.TB, entries []evil) []byte {
	t.Helper()
	var ok []evil
	for _, e := range entries {
		if !strings.Contains(e.name, "\x00") {
			ok = append(ok, e)
		}
	}
	return evilTar(t, ok...)
}

// checkKinds finds files of a kind that must never be extracted.
func checkKinds(t testing.TB, dir string) {
	t.Helper()
	must(t, filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // a directory of mode 0 to somebody else than root
		}
		if kind := d.Type() &^ (fs.ModeDir | fs.ModeSymlink); kind != 0 {
			t.Errorf("%s is a %v", p, kind)
		}
		return nil
	}))
}

func TestExtractRefuses(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		b    []byte
		want error
	}{
		"zip climbing":  {evilZip(t, evil{name: "fine", content: "x", mode: 0o644}, evil{name: "../x", content: "x", mode: 0o644}), archive.ErrUnsafe},
		"zip absolute":  {evilZip(t, evil{name: "/x", content: "x", mode: 0o644}), archive.ErrUnsafe},
		"tar climbing":  {zstdOf(t, evilTar(t, evil{name: "../x", content: "x", mode: 0o644})), archive.ErrUnsafe},
		"tar hard link": {zstdOf(t, evilTar(t, evil{name: "h", content: "x", hard: true})), archive.ErrUnsafe},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newArena(t)
			if err := a.extract(t, tt.b, archive.Options{}); !errors.Is(err, tt.want) {
				t.Errorf("error = %v, want %v", err, tt.want)
			}
			if got := names(snapshot(t, a.dir)); len(got) != 0 {
				t.Errorf("extracted %q", got)
			}
		})
	}
}

func TestExtractModes(t *testing.T) {
	t.Parallel()
	entries := []evil{
		{name: "suid", content: "x", mode: 0o755 | fs.ModeSetuid},
		{name: "ro/", mode: fs.ModeDir | 0o555},
		{name: "ro/file", content: "x", mode: 0o400},
		{name: "made/by/need", content: "x", mode: 0o640},
	}
	for name, b := range map[string][]byte{"zip": evilZip(t, entries...), "tar": zstdOf(t, evilTar(t, entries...))} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newArena(t)
			must(t, a.extract(t, b, archive.Options{}))
			got := make(map[string]string)
			for name, n := range snapshot(t, a.dir) {
				got[name] = n.Mode.String()
			}
			want := map[string]string{
				"suid": "-rwxr-xr-x", "ro": "dr-xr-xr-x", "ro/file": "-r--------",
				"made": "drwxr-xr-x", "made/by": "drwxr-xr-x", "made/by/need": "-rw-r-----",
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("modes differ (-want +got):\n%s", diff)
			}
		})
	}
}

// A file that is replaced is a new one: other names of the old one keep their content.
func TestExtractReplaces(t *testing.T) {
	t.Parallel()
	entries := []evil{
		{name: "f", content: "first", mode: 0o644}, {name: "f", content: "last", mode: 0o644},
		{name: "l", content: "nowhere", mode: link}, {name: "l", content: "f", mode: link},
		{name: "d", content: "file first", mode: 0o644}, {name: "d", content: "f", mode: link},
	}
	for name, b := range map[string][]byte{"zip": evilZip(t, entries...), "tar": zstdOf(t, evilTar(t, entries...))} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newArena(t)
			must(t, os.Link(filepath.Join(a.top, "canary"), filepath.Join(a.dir, "f")))
			must(t, os.Symlink("../canary", filepath.Join(a.dir, "l")))
			must(t, os.WriteFile(filepath.Join(a.dir, "keep"), []byte("mine"), 0o600))
			must(t, a.extract(t, b, archive.Options{}))
			got := make(map[string]string)
			for name, n := range snapshot(t, a.dir) {
				got[name] = n.Content
			}
			want := map[string]string{"f": "last", "l": "f", "d": "f", "keep": "mine"}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("content differs (-want +got):\n%s", diff)
			}
			a.unharmed(t)
		})
	}
}

func TestExtractLimit(t *testing.T) {
	t.Parallel()
	zeros := strings.Repeat("\x00", 3<<20)
	entries := []evil{{name: "a", content: zeros, mode: 0o644}, {name: "b", content: zeros, mode: 0o644}}
	for name, b := range map[string][]byte{"zip": evilZip(t, entries...), "tar": zstdOf(t, evilTar(t, entries...))} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newArena(t)
			if err := a.extract(t, b, archive.Options{MaxBytes: 4 << 20}); !errors.Is(err, archive.ErrTooLarge) {
				t.Errorf("error = %v", err)
			}
			if err := a.extract(t, b, archive.Options{MaxBytes: 6 << 20}); err != nil {
				t.Errorf("at the limit: %v", err)
			}
		})
	}
}

func TestExtractCutShort(t *testing.T) {
	t.Parallel()
	dir := sample(t)
	for _, format := range []archive.Format{archive.Zip, archive.TarZstd} {
		b := create(t, dir, archive.Options{Format: format, Level: archive.Fast})
		for _, keep := range []int{1, 10, 100, len(b) / 3, len(b) - 20, len(b) - 1} {
			t.Run(fmt.Sprintf("%s/%d", format, keep), func(t *testing.T) {
				t.Parallel()
				a := newArena(t)
				if err := a.extract(t, b[:keep], archive.Options{Format: format}); err == nil {
					t.Error("no error")
				}
			})
		}
	}
}

func TestCreateRefuses(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	must(t, os.Symlink("../secret", filepath.Join(a.dir, "l")))
	for _, name := range []string{"../canary", "/etc/passwd", "l/dir/file", ""} {
		var b bytes.Buffer
		_, err := archive.Create(context.Background(), &b, openRoot(t, a.dir), []string{name}, archive.Options{})
		if err == nil {
			t.Errorf("%q was packed", name)
		}
	}
}

func TestCreateLeavesOut(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	must(t, os.WriteFile(filepath.Join(a.dir, "f"), []byte("x"), 0o600))
	for _, format := range []archive.Format{archive.Zip, archive.TarZstd} {
		var lines []string
		var b bytes.Buffer
		o := archive.Options{Format: format, Warn: func(line string) { lines = append(lines, line) }}
		st, err := archive.Create(context.Background(), &b, openRoot(t, a.dir), []string{"f", "gone", "gone/too"}, o)
		if err != nil || st.Files != 1 || len(lines) != 2 {
			t.Errorf("%s: %+v, %v, warnings %q", format, st, err, lines)
		}
	}
}

func TestCreateLimit(t *testing.T) {
	t.Parallel()
	dir := sample(t)
	for _, format := range []archive.Format{archive.Zip, archive.TarZstd} {
		var b bytes.Buffer
		list := names(snapshot(t, dir))
		_, err := archive.Create(context.Background(), &b, openRoot(t, dir), list, archive.Options{Format: format, MaxBytes: 1 << 20})
		if !errors.Is(err, archive.ErrTooLarge) || b.Len() > 1<<20 {
			t.Errorf("%s: %v after %d bytes", format, err, b.Len())
		}
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	dir := sample(t)
	b := create(t, dir, archive.Options{Format: archive.TarZstd})
	cause := errors.New("told to stop")
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(cause)
	if _, err := archive.Create(ctx, &bytes.Buffer{}, openRoot(t, dir), names(snapshot(t, dir)), archive.Options{}); !errors.Is(err, cause) {
		t.Errorf("create: %v", err)
	}
	if _, err := archive.Extract(ctx, bytes.NewReader(b), int64(len(b)), openRoot(t, t.TempDir()), archive.Options{}); !errors.Is(err, cause) {
		t.Errorf("extract: %v", err)
	}
}
