package image_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/image"
	"gitlab.com/skerry/skerry/internal/image/savedtest"
)

// withPodman is an image with Podman as a distribution has it.
func withPodman() savedtest.Image {
	raw, ping := savedtest.File("usr/bin/setpriv", "raw", 0o755), savedtest.File("usr/bin/ping", "ping", 0o755)
	raw.PAXRecords = map[string]string{"SCHILY.xattr.security.capability": "\x01\x00\x00\x02\x80"}
	ping.PAXRecords = map[string]string{"LIBARCHIVE.xattr.security.capability": "AQAAAgA"}
	return savedtest.Image{
		Config: map[string]any{"User": "other", "Env": []string{"PATH=/usr/bin"}, "Volumes": map[string]any{"/var/lib/containers": map[string]any{}}},
		Layers: []savedtest.Layer{{
			savedtest.Dir("usr", 0o755), savedtest.Dir("usr/bin", 0o755), savedtest.File("usr/bin/podman", "podman", 0o755), savedtest.File("usr/bin/crun", "crun", 0o755),
			savedtest.File("usr/bin/newuidmap", "uids", 0o4755), savedtest.File("usr/bin/newgidmap", "gids", 0o4755), savedtest.File("usr/bin/su", "su", 0o4755),
			savedtest.File("usr/bin/wall", "wall", 0o2755), raw, ping, savedtest.Dir("etc", 0o755), savedtest.Dir("run", 0o755), savedtest.Link("var/run", "/run"),
			savedtest.File("etc/passwd", "root:x:0:0::/root:/bin/sh\nother:x:1000:1000::/home/other:/bin/sh", 0o644), savedtest.File("etc/group", "root:x:0:\n", 0o644),
		}},
	}
}

func TestPodmanImage(t *testing.T) {
	t.Parallel()
	base := open(t, withPodman())
	d, err := image.Podman(base, "podman:5", "localhost/nested:1")
	if err != nil {
		t.Fatal(err)
	}
	if notes := strings.Join(d.Notes, "\n"); !strings.Contains(notes, "neither pasta nor slirp4netns") {
		t.Errorf("the notes say nothing of the network:\n%s", notes)
	}
	made := apply(t, base, d)
	for name, want := range map[string]string{
		"/etc/passwd": "root:x:0:0::/root:/bin/sh\npodman:x:1000:1000::/home/podman:/bin/sh\n", "/etc/group": "root:x:0:\npodman:x:1000:\n",
		"/etc/subuid": "podman:1:999\npodman:1001:64535\n", "/etc/subgid": "podman:1:999\npodman:1001:64535\n", "/usr/bin/newuidmap": "uids", "/usr/bin/su": "su",
		"/home/podman/.config/containers/containers.conf": content(t, made, "/etc/containers/containers.conf"),
	} {
		if got := content(t, made, name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	for name, want := range map[string]fs.FileMode{
		"/usr/bin/newuidmap": 0o755, "/usr/bin/newgidmap": 0o755, "/usr/bin/su": 0o755, "/usr/bin/wall": 0o755, "/usr/bin/podman": 0o755,
		image.NestedStore: 0o700 | fs.ModeDir, image.NestedRun: 0o700 | fs.ModeDir, "/run/docker.sock": 0o777 | fs.ModeSymlink,
	} {
		if f, ok := made.Lookup(name); !ok || f.Mode != want {
			t.Errorf("%s: %v, want %v", name, f.Mode, want)
		}
	}
	for name, want := range map[string]bool{"/usr/bin/newuidmap": true, "/usr/bin/newgidmap": true, "/usr/bin/setpriv": false, "/usr/bin/ping": false} {
		if f, ok := made.Lookup(name); !ok || f.Capable != want {
			t.Errorf("%s gives rights to who runs it: %v, want %v", name, f.Capable, want)
		}
	}
	if f, _ := made.Lookup(image.NestedStore); f.UID != image.NestedUID || f.GID != image.NestedUID {
		t.Errorf("the store belongs to %d:%d", f.UID, f.GID)
	}
	if diff := cmp.Diff(map[string]string{
		"usr/bin/newuidmap": "\x01\x00\x00\x02\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
		"usr/bin/newgidmap": "\x01\x00\x00\x02\x40\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
	}, capabilities(t, d.Change.Top)); diff != "" {
		t.Errorf("file capabilities (-want +got):\n%s", diff)
	}
	if made.Config.User != image.NestedUser {
		t.Errorf("its containers run as %q, who may not be in it any more", made.Config.User)
	}
	if len(made.Config.Volumes) > 0 {
		t.Errorf("volumes: %v", made.Config.Volumes)
	}
}

// capabilities are those of the files in a layer.
func capabilities(t *testing.T, layer []byte) map[string]string {
	t.Helper()
	all := map[string]string{}
	for r := tar.NewReader(bytes.NewReader(layer)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if c, ok := h.PAXRecords["SCHILY.xattr.security.capability"]; ok {
			all[h.Name] = c
		}
	}
}

func TestNoPodman(t *testing.T) {
	t.Parallel()
	base := open(t, savedtest.Image{Layers: []savedtest.Layer{{savedtest.File("usr/bin/podman", "podman", 0o755)}}})
	_, err := image.Podman(base, "half", "localhost/nested:1")
	var missing *image.NoPodmanError
	if !errors.As(err, &missing) {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"newuidmap", "newgidmap", "crun"}, missing.Missing); diff != "" {
		t.Error(diff)
	}
}

// TestTooFewIDsForNested says so, and what mends it.
func TestTooFewIDsForNested(t *testing.T) {
	t.Parallel()
	if ranges, err := image.NestedRanges(1002); err != nil || ranges != "podman:1:999\npodman:1001:1\n" {
		t.Errorf("%q, %v", ranges, err)
	}
	if ranges, err := image.NestedRanges(1001); err == nil || !strings.Contains(err.Error(), "/etc/subuid") {
		t.Errorf("%q, %v", ranges, err)
	}
}
