package image_test

import (
	"bytes"
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/image"
	"gitlab.com/skerry/skerry/internal/image/saved"
	"gitlab.com/skerry/skerry/internal/image/savedtest"
)

func open(t *testing.T, i savedtest.Image) *saved.Image {
	t.Helper()
	a := i.Save(t)
	base, err := saved.Open(a, a.Size())
	if err != nil {
		t.Fatal(err)
	}
	return base
}

// apply writes the image and reads it again.
func apply(t *testing.T, base *saved.Image, d *image.Derived) *saved.Image {
	t.Helper()
	var b bytes.Buffer
	if err := base.Write(&b, d.Change); err != nil {
		t.Fatal(err)
	}
	made, err := saved.Open(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func content(t *testing.T, i *saved.Image, name string) string {
	t.Helper()
	f, err := i.Find(name)
	if err != nil {
		t.Error(err)
		return ""
	}
	raw, err := i.Read(f, 1<<20)
	if err != nil {
		t.Error(err)
	}
	return string(raw)
}

// nixOS is an image as Nix makes it: all that is in it is a link into the store.
func nixOS() savedtest.Image {
	return savedtest.Image{
		Config: map[string]any{
			"Env": []string{"PATH=/root/.nix-profile/bin:/bin", "USER=root"}, "Entrypoint": []string{"bash"}, "User": "0", "WorkingDir": "/src",
			"Labels": map[string]string{"mine": "1"}, "Volumes": map[string]any{"/nix/store": map[string]any{}, "/data": map[string]any{}},
		},
		Layers: []savedtest.Layer{
			{
				savedtest.Dir("nix", 0o755), savedtest.Dir("nix/store", 0o1775), savedtest.Dir("nix/store/aaa-nix", 0o555), savedtest.File("nix/store/aaa-nix/bin/nix", "ELF", 0o555),
				savedtest.Link("nix/store/aaa-nix/bin/nix-daemon", "nix"), savedtest.File("nix/store/bbb-bash/bin/bash", strings.Repeat("x", 3<<20), 0o555),
				savedtest.File("nix/store/ccc-base/etc/passwd", "root:x:0:0::/root:/bin/sh\n", 0o444), savedtest.File("nix/store/ccc-base/etc/group", "root:x:0:\nnixbld:x:30000:nixbld1\n", 0o444),
				savedtest.File("nix/store/ddd-nix.conf", "build-users-group = nixbld", 0o444), savedtest.Dir("nix/store/.links", 0o755),
			},
			{
				savedtest.Dir("etc", 0o755), savedtest.Link("etc/passwd", "/nix/store/ccc-base/etc/passwd"), savedtest.Link("etc/group", "../nix/store/ccc-base/etc/group"),
				savedtest.Link("etc/nix", "/nix/store/eee-etc-nix"), savedtest.Dir("nix/store/eee-etc-nix", 0o555), savedtest.Link("nix/store/eee-etc-nix/nix.conf", "/nix/store/ddd-nix.conf"),
				savedtest.Dir("root", 0o700), savedtest.Link("root/.nix-profile", "/nix/var/nix/profiles/default"), savedtest.Link("nix/var/nix/profiles/default", "/nix/store/aaa-nix"),
				savedtest.Link("bin/sh", "/nix/store/bbb-bash/bin/bash"), savedtest.Link("nix/store/aaa-nix/bin/bash", "/nix/store/bbb-bash/bin/bash"),
				savedtest.File("nix/var/nix/db/db.sqlite", "paths", 0o644), savedtest.Dir("tmp", 0o755),
			},
		},
	}
}

func TestJobImageOfNixOS(t *testing.T) {
	t.Parallel()
	base := open(t, nixOS())
	d, err := image.NixJob(base, "nix:1", "localhost/job:1")
	if err != nil {
		t.Fatal(err)
	}
	notes := strings.Join(d.Notes, "\n")
	for _, want := range []string{"Left out: 5 store paths with 3.0 MB, and Nix's database", "/etc/nix/nix.conf was a link", "/etc/passwd was a link", "/bin/sh, /root/.nix-profile/bin/bash is in the store"} {
		if !strings.Contains(notes, want) {
			t.Errorf("the notes do not say %q:\n%s", want, notes)
		}
	}
	made := apply(t, base, d)
	made.Walk("/nix/store", func(name string, _ saved.File) { t.Errorf("%s is still there", name) })
	made.Walk("/nix/var/nix/db", func(name string, _ saved.File) { t.Errorf("%s is still there", name) })
	if got := content(t, made, "/etc/nix/nix.conf"); got != "build-users-group = nixbld\nexperimental-features = nix-command flakes\n" {
		t.Errorf("nix.conf: %q", got)
	}
	if got := content(t, made, "/etc/passwd"); got != "root:x:0:0::/root:/bin/sh\n" {
		t.Errorf("passwd: %q", got)
	}
	for name, want := range map[string]fs.FileMode{
		"/nix/store": 0o755 | fs.ModeDir, "/nix/var/nix/gcroots/per-user": 0o777 | fs.ModeDir | fs.ModeSticky, "/nix/var/nix/profiles/per-user": 0o777 | fs.ModeDir | fs.ModeSticky,
		"/nix/var/nix/profiles/per-user/root": 0o755 | fs.ModeDir, "/nix/var/log/nix/drvs": 0o755 | fs.ModeDir, "/nix/var/nix/temproots": 0o755 | fs.ModeDir, "/nix/var/nix/userpool": 0o755 | fs.ModeDir,
		"/root": 0o700 | fs.ModeDir, "/root/.nix-defexpr": 0o700 | fs.ModeDir, "/tmp": 0o777 | fs.ModeDir | fs.ModeSticky, "/etc/nix": 0o755 | fs.ModeDir, "/etc/nix/nix.conf": 0o644, "/etc": 0o755 | fs.ModeDir,
	} {
		if f, ok := made.Lookup(name); !ok || f.Mode != want {
			t.Errorf("%s: %v, want %v", name, f.Mode, want)
		}
	}
	want := saved.Config{
		User: "0", Env: []string{"PATH=/root/.nix-profile/bin:/bin", "USER=root", "NIX_REMOTE=daemon"}, Entrypoint: []string{"bash"}, Volumes: map[string]struct{}{"/data": {}},
		Labels: map[string]string{"mine": "1", "com.gitlab.skerry.nix": "path", "com.gitlab.skerry.no-prune": "true", "no-prune": "true", "com.gitlab.skerry.base": "nix:1"},
	}
	if diff := cmp.Diff(want, made.Config); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestJobImageOfADistribution(t *testing.T) {
	t.Parallel()
	base := open(t, savedtest.Image{Layers: []savedtest.Layer{{
		savedtest.Link("bin", "usr/bin"), savedtest.File("usr/bin/sh", "x", 0o755), savedtest.Dir("private", 0o711), savedtest.Dir("private/etc", 0o750), savedtest.Link("etc", "private/etc"),
		savedtest.File("private/etc/passwd", "kept", 0o600), savedtest.Link("tmp", "var/tmp"),
	}}})
	d, err := image.NixJob(base, "debian", "x:1")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"The base has no store paths: nothing was left out."}, d.Notes); diff != "" {
		t.Error(diff)
	}
	made := apply(t, base, d)
	if got := content(t, made, "/private/etc/nix/nix.conf"); got != "experimental-features = nix-command flakes\n" {
		t.Errorf("nix.conf: %q", got)
	}
	if got := content(t, made, "/etc/passwd"); got != "kept" {
		t.Errorf("passwd: %q", got)
	}
	for name, want := range map[string]fs.FileMode{"/etc": 0o777 | fs.ModeSymlink, "/tmp": fs.ModeSymlink | 0o777, "/private": 0o711 | fs.ModeDir, "/private/etc": 0o750 | fs.ModeDir} {
		if f, ok := made.Lookup(name); !ok || f.Mode != want {
			t.Errorf("%s: %v, want %v", name, f.Mode, want)
		}
	}
	again, err := image.NixJob(made, "x:1", "y:1")
	if err != nil {
		t.Fatal(err)
	}
	if f := apply(t, made, again); content(t, f, "/etc/nix/nix.conf") == "" || len(again.Notes) != 1 {
		t.Errorf("made of a job image: %q", again.Notes)
	}
}

func TestDaemonImage(t *testing.T) {
	t.Parallel()
	base := open(t, nixOS())
	d, err := image.NixDaemon(base, "nix:1", "localhost/d:1")
	if err != nil {
		t.Fatal(err)
	}
	made := apply(t, base, d)
	if l := made.Config.Labels; l["com.gitlab.skerry.nix-daemon"] != "/root/.nix-profile/bin/nix-daemon" || l["com.gitlab.skerry.part"] != "nix-daemon" || l["no-prune"] != "true" || l["mine"] != "1" {
		t.Errorf("labels %v", l)
	}
	if f, _ := made.Lookup("/nix/store"); f.Mode != 0o775|fs.ModeDir|fs.ModeSticky || content(t, made, "/etc/passwd") == "" {
		t.Errorf("the store is not what it was: %v", f.Mode)
	}
	if _, ok := made.Config.Volumes["/nix/store"]; !ok {
		t.Error("something was changed that was good")
	}
}

func TestDaemonImageOfADistribution(t *testing.T) {
	t.Parallel()
	base := open(t, savedtest.Image{Layers: []savedtest.Layer{{
		savedtest.File("usr/bin/nix", "x", 0o755), savedtest.File("usr/bin/nix-daemon", "not executable", 0o644), savedtest.File("etc/passwd", "root:x:0:0::/root:/bin/sh\n", 0o644),
	}}})
	d, err := image.NixDaemon(base, "debian", "d:1")
	if err != nil {
		t.Fatal(err)
	}
	made := apply(t, base, d)
	if f, ok := made.Lookup("/nix/store"); !ok || f.Mode != 0o775|fs.ModeDir|fs.ModeSticky {
		t.Errorf("store: %v", f.Mode)
	}
	if l := made.Config.Labels["com.gitlab.skerry.nix-daemon"]; l != "/usr/bin/nix" {
		t.Errorf("the daemon's program is %s", l)
	}
}

func TestDaemonImageNeedsNix(t *testing.T) {
	t.Parallel()
	base := open(t, savedtest.Image{Config: map[string]any{"Env": []string{"PATH=/opt/bin:rel"}}, Layers: []savedtest.Layer{{savedtest.Link("usr/bin/nix", "/nix/store/gone/bin/nix"), savedtest.Dir("opt/bin/nix", 0o755)}}})
	_, err := image.NixDaemon(base, "debian:trixie", "d:1")
	var none *image.NoNixError
	if !errors.As(err, &none) || !strings.Contains(err.Error(), "the image debian:trixie has no Nix: neither nix-daemon nor nix is in /opt/bin, /nix/var/nix/profiles/default/bin") {
		t.Error(err)
	}
}
