package store_test

import (
	"archive/zip"
	"bytes"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/store"
)

func zipOf(t *testing.T, names ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, name := range names {
		f, err := w.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte(strings.Repeat("content", 100))); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestCheck(t *testing.T) {
	t.Parallel()
	good := zipOf(t, "a/b")
	broken := bytes.Clone(good)
	broken[40] ^= 0xff
	cases := []struct {
		name, format string
		data         []byte
		want         string // in the error; empty for none
	}{
		{"zip", "zip", good, ""},
		{"not zip", "zip", []byte("x"), "not a zip archive"},
		{"empty zip", "zip", zipOf(t), "empty"},
		{"broken zip", "zip", broken, "zip entry"},
		{"escape", "zip", zipOf(t, "../x"), "points out of"},
		{"absolute", "zip", zipOf(t, "/etc/x"), "points out of"},
		{"not gzip", "gzip", good, "not gzip"},
		{"raw", "raw", []byte("anything"), ""},
		{"unknown", "rar", nil, "does not have a valid value"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "f")
			if err := os.WriteFile(path, tc.data, 0o600); err != nil {
				t.Fatal(err)
			}
			err := store.Check(path, tc.format)
			if (tc.want == "") != (err == nil) || (err != nil && !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("error is %v, wanted %q", err, tc.want)
			}
		})
	}
}

func TestParseDotenv(t *testing.T) {
	t.Parallel()
	got, err := store.ParseDotenv(strings.NewReader("A=1\n B = two=2 \nA=3\nQ=\"q\"\n"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]store.Variable{{"A", "3"}, {"B", "two=2"}, {"Q", `"q"`}}, got); diff != "" {
		t.Errorf("variables (-want +got):\n%s", diff)
	}
	for _, bad := range []string{"A\n", "\n", "A B=1\n", "=1\n", strings.Repeat("x", 70000)} {
		if v, err := store.ParseDotenv(strings.NewReader(bad)); err == nil {
			t.Errorf("ParseDotenv(%.20q) = %v", bad, v)
		}
	}
}

func FuzzParseDotenv(f *testing.F) {
	f.Add([]byte("A=1\nB=2\n"))
	f.Add([]byte("\xff\xfeA\x00=\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		vars, err := store.ParseDotenv(bytes.NewReader(data))
		if err != nil {
			return
		}
		seen := map[string]bool{}
		for _, v := range vars {
			if v.Key == "" || seen[v.Key] || strings.Contains(v.Value, "\n") {
				t.Errorf("variable %+v", v)
			}
			seen[v.Key] = true
		}
	})
}

func TestLog(t *testing.T) {
	t.Parallel()
	for name, mode := range map[string]store.Mode{"memory": store.InMemory, "file": store.InFile} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := store.NewLog(mode, filepath.Join(t.TempDir(), "log"))
			t.Cleanup(l.Close)
			for _, step := range []struct {
				at   int64
				text string
				fits bool
				size int64
			}{{0, "hello", true, 5}, {4, "x", false, 5}, {9, "x", false, 5}, {5, " world", true, 11}} {
				size, fits, err := l.Append(step.at, []byte(step.text))
				if err != nil || fits != step.fits || size != step.size {
					t.Errorf("Append(%d, %q) = %d, %v, %v", step.at, step.text, size, fits, err)
				}
			}
			l.Truncate(3)
			if _, _, err := l.Append(3, []byte("p")); err != nil {
				t.Error(err)
			}
			b, err := l.Bytes()
			size, sum := l.State()
			if err != nil || string(b) != "help" || size != 4 || sum != crc32.ChecksumIEEE([]byte("help")) {
				t.Errorf("log is %q, %v, %d bytes, %08x", b, err, size, sum)
			}
		})
	}
}
