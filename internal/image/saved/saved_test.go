package saved_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"gitlab.com/skerry/skerry/internal/image/saved"
	"gitlab.com/skerry/skerry/internal/image/savedtest"
)

// sample has two layers: the second replaces, removes and adds.
func sample(compress string) savedtest.Image {
	return savedtest.Image{
		Compress: compress,
		Config: map[string]any{
			"Env": []string{"PATH=/bin", "NIX_REMOTE=local", "A=b=c"}, "Entrypoint": []string{"/entry"}, "User": "1000", "WorkingDir": "/src",
			"Labels": map[string]string{"mine": "1"}, "Volumes": map[string]any{"/nix/store": map[string]any{}, "/data": map[string]any{}},
			"Healthcheck": map[string]any{"Test": []string{"NONE"}},
		},
		Layers: []savedtest.Layer{
			{
				savedtest.Dir("bin", 0o755), savedtest.File("bin/busybox", "#!", 0o755), savedtest.Hard("bin/sh", "bin/busybox"), savedtest.Link("sbin", "bin"),
				savedtest.Dir("etc", 0o700), savedtest.File("./etc/old", "old", 0o644), savedtest.File("etc/kept", "kept", 0o4755),
				savedtest.File("opt/a/b/c", "deep", 0o644), savedtest.File("var/x/1", "1", 0o644), savedtest.Link("loop", "loop"), savedtest.Link("etc/up", "../../../bin/busybox"),
				savedtest.File("nix/store/aaa/x", "store", 0o444), savedtest.Link("etc/instore", "/nix/store/aaa/x"), savedtest.Link("etc/gone", "/nix/store/zzz/x"),
			},
			{savedtest.File("etc/.wh.old", "", 0), savedtest.File("var/x/.wh..wh..opq", "", 0), savedtest.File("var/x/2", "2", 0o644), savedtest.File("opt/a", "now a file", 0o644)},
		},
	}
}

func open(t *testing.T, i savedtest.Image) *saved.Image {
	t.Helper()
	a := i.Save(t)
	img, err := saved.Open(a, a.Size())
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func TestFilesOfAllLayers(t *testing.T) {
	t.Parallel()
	for _, compress := range []string{"", "gzip", "zstd"} {
		t.Run(compress, func(t *testing.T) {
			t.Parallel()
			img := open(t, sample(compress))
			for name, want := range map[string]string{
				"/bin/busybox": "#!", "bin/sh": "#!", "/sbin/sh": "#!", "/etc/kept": "kept", "/etc/up": "#!", "/var/x/2": "2", "/opt/a": "now a file",
				"/etc/instore": "store", "/bin/../etc/./kept": "kept", "/etc/old": "", "/var/x/1": "", "/opt/a/b/c": "", "/etc/gone": "", "/loop": "", "/bin": "",
			} {
				f, err := img.Find(name)
				var got []byte
				if err == nil {
					got, err = img.Read(f, 100)
				}
				if string(got) != want || (err != nil) != (want == "") {
					t.Errorf("%s: %q, %v", name, got, err)
				}
			}
		})
	}
}

func TestWayOfLinks(t *testing.T) {
	t.Parallel()
	img := open(t, sample(""))
	f, err := img.Find("/etc/instore")
	if err != nil || f.Path != "/nix/store/aaa/x" || !f.Through("/nix/store") || f.Through("/nix/sto") {
		t.Errorf("%+v, %v", f, err)
	}
	f, err = img.Find("/etc/gone")
	if !errors.Is(err, fs.ErrNotExist) || f.Path != "/nix/store/zzz/x" || !f.Through("/nix/store") {
		t.Errorf("%+v, %v", f, err)
	}
	if f, err := img.Find("/sbin/sh"); err != nil || f.Through("/nix/store") || !cmp.Equal(f.Way, []string{"/sbin", "/bin/sh"}) {
		t.Errorf("%+v, %v", f, err)
	}
	if f, ok := img.Lookup("/sbin"); !ok || f.Mode&fs.ModeSymlink == 0 || f.Link != "bin" {
		t.Errorf("%+v, %t", f, ok)
	}
	if f, ok := img.Lookup("/opt"); !ok || !f.Mode.IsDir() {
		t.Errorf("a directory without an entry: %+v, %t", f, ok)
	}
	if f, ok := img.Lookup("/etc/kept"); !ok || f.Mode != 0o755|fs.ModeSetuid {
		t.Errorf("%+v, %t", f, ok)
	}
	if _, ok := img.Lookup("/etc/old"); ok {
		t.Error("/etc/old is still there")
	}
}

// parts are the files of a written archive.
func parts(t *testing.T, archive []byte) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, twice := all[h.Name]; twice {
			t.Errorf("%s is there twice", h.Name)
		}
		if all[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}

func write(t *testing.T, img *saved.Image, c saved.Change) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := img.Write(&b, c); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestWrittenImageIsWhatItSays(t *testing.T) {
	t.Parallel()
	for _, compress := range []string{"", "gzip", "zstd"} {
		t.Run(compress, func(t *testing.T) {
			t.Parallel()
			i := sample(compress)
			i.Layers = append(i.Layers, i.Layers[1]) // a layer twice
			img := open(t, i)
			change := saved.Change{
				Tag: "made:2", By: "test of it", Top: savedtest.Layer{savedtest.File("new", "<n&w>", 0o644)}.Tar(t),
				Drop: func(n string) bool { return strings.HasPrefix(n, "nix/store/") }, DropVolume: func(p string) bool { return p == "/nix/store" },
				Env: map[string]string{"NIX_REMOTE": "daemon"}, Labels: map[string]string{"yours": "<2>"},
			}
			archive := write(t, img, change)
			if !bytes.Equal(archive, write(t, img, change)) {
				t.Error("written twice, it differs")
			}
			files := parts(t, archive)
			var manifest []struct {
				Config           string
				RepoTags, Layers []string
			}
			if err := json.Unmarshal(files["manifest.json"], &manifest); err != nil || len(manifest) != 1 {
				t.Fatalf("%v: %s", err, files["manifest.json"])
			}
			m := manifest[0]
			var config struct {
				Variant string
				Config  map[string]any
				History []map[string]any
				Rootfs  struct {
					DiffIDs []string `json:"diff_ids"`
				}
			}
			if err := json.Unmarshal(files[m.Config], &config); err != nil {
				t.Fatal(err)
			}
			if digest(files[m.Config])+".json" != m.Config || !slices.Equal(m.RepoTags, []string{"made:2"}) || config.Variant != "v1" {
				t.Errorf("%+v", m)
			}
			for n, id := range config.Rootfs.DiffIDs {
				if got := "sha256:" + digest(files[m.Layers[n]]); got != id {
					t.Errorf("layer %d is %s, and is said to be %s", n, got, id)
				}
			}
			same := "sha256:" + digest(i.Layers[1].Tar(t))
			if ids := config.Rootfs.DiffIDs; len(ids) != 4 || ids[1] != same || ids[2] != same || ids[0] == "sha256:"+digest(i.Layers[0].Tar(t)) {
				t.Errorf("layers %q: those that nothing is left out of are to stay", ids)
			}
			want := map[string]any{
				"Env": []any{"PATH=/bin", "A=b=c", "NIX_REMOTE=daemon"}, "Entrypoint": []any{"/entry"}, "User": "1000", "WorkingDir": "/src",
				"Labels": map[string]any{"mine": "1", "yours": "<2>"}, "Volumes": map[string]any{"/data": map[string]any{}},
				"Healthcheck": map[string]any{"Test": []any{"NONE"}},
			}
			if diff := cmp.Diff(want, config.Config); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if h := config.History; len(h) != 5 || h[4]["created_by"] != "test of it" {
				t.Errorf("history %v", h)
			}
			checkFiles(t, archive)
			other, err := tarball.Image(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive)), nil }, nil)
			if err == nil {
				err = validate.Image(other)
			}
			if err != nil {
				t.Errorf("another reader of such archives: %v", err)
			}
		})
	}
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// checkFiles reads the written image again.
func checkFiles(t *testing.T, archive []byte) {
	t.Helper()
	img, err := saved.Open(bytes.NewReader(archive), int64(len(archive)))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	img.Walk("/", func(name string, _ saved.File) { names = append(names, name) })
	slices.Sort(names)
	want := []string{"/bin", "/bin/busybox", "/bin/sh", "/etc", "/etc/gone", "/etc/instore", "/etc/kept", "/etc/up", "/loop", "/new", "/opt/a", "/sbin", "/var/x/2"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestHardLinkToWhatIsLeftOut(t *testing.T) {
	t.Parallel()
	img := open(t, savedtest.Image{Layers: []savedtest.Layer{{savedtest.File("nix/store/a", "x", 0o755), savedtest.Hard("bin/a", "nix/store/a")}}})
	err := img.Write(io.Discard, saved.Change{Tag: "x:1", Drop: func(n string) bool { return n == "nix/store/a" }})
	if err == nil || !strings.Contains(err.Error(), "/bin/a is a hard link to /nix/store/a") {
		t.Error(err)
	}
}

func TestArchivesThatAreNone(t *testing.T) {
	t.Parallel()
	archive := func(files map[string]string) []byte {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for name, content := range files {
			if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(content))}); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write([]byte(content)); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	one := `[{"Config":"c","Layers":["l"]}]`
	for name, c := range map[string]struct {
		archive []byte
		want    string
	}{
		"text":           {[]byte(strings.Repeat("no archive ", 100)), "invalid tar header"},
		"empty":          {archive(nil), "it has no manifest.json"},
		"two images":     {archive(map[string]string{"manifest.json": `[{},{}]`}), "it has 2 images"},
		"no config":      {archive(map[string]string{"manifest.json": one}), "it has no c"},
		"no layer":       {archive(map[string]string{"manifest.json": one, "c": `{"rootfs":{"diff_ids":["sha256:1"]}}`}), "it has no l"},
		"other layers":   {archive(map[string]string{"manifest.json": one, "c": `{}`}), "it has 1 layers, and names 0"},
		"broken layer":   {archive(map[string]string{"manifest.json": one, "c": `{"rootfs":{"diff_ids":["sha256:1"]}}`, "l": "broken"}), "layer 1"},
		"broken config":  {archive(map[string]string{"manifest.json": one, "c": `{"rootfs":1}`, "l": ""}), "c: json"},
		"no JSON at all": {archive(map[string]string{"manifest.json": "{"}), "manifest.json: unexpected EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := saved.Open(bytes.NewReader(c.archive), int64(len(c.archive)))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}
