package image_test

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"golang.org/x/sys/unix"

	"gitlab.com/skerry/skerry/internal/image"
)

// TestHelperHasAGitThatWorks runs git in a directory that holds nothing but the image.
func TestHelperHasAGitThatWorks(t *testing.T) {
	t.Parallel()
	h, err := image.NewHelper(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	again, err := image.NewHelper(t.Context())
	if err != nil || again.Ref != h.Ref {
		t.Errorf("the same machine makes %s and then %s, %v", h.Ref, again.Ref, err)
	}
	archive := filepath.Join(t.TempDir(), "helper.tar")
	f, err := os.Create(archive)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(h.Write(f), f.Close()); err != nil {
		t.Fatal(err)
	}
	img, err := tarball.ImageFromPath(archive, nil)
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	files := mutate.Extract(img)
	defer files.Close()
	unpack(t, files, root)
	if os.Getuid() != 0 {
		t.Log("not root: the image is looked at, but nothing is run in it")
		return
	}
	devices(t, filepath.Join(root, "dev"))
	for _, line := range []string{
		"git init -q /tmp/r && cd /tmp/r && echo x >a && git add a && git -c user.name=a -c user.email=a@b commit -qm x && git log --oneline",
		"cd /tmp/r && git submodule status",
		"git remote-https 2>&1 | grep -q usage",
	} {
		cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", line)
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root}
		cmd.Dir, cmd.Env = "/", []string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/root"}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", line, err, out)
		}
	}
}

func unpack(t *testing.T, files io.Reader, root string) {
	t.Helper()
	for r := tar.NewReader(files); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		p := filepath.Join(root, h.Name)
		switch {
		case err != nil:
		case h.Typeflag == tar.TypeDir:
			err = os.MkdirAll(p, 0o755)
		case h.Typeflag == tar.TypeSymlink:
			err = os.Symlink(h.Linkname, p)
		default:
			var raw []byte
			if raw, err = io.ReadAll(r); err == nil {
				err = os.WriteFile(p, raw, os.FileMode(h.Mode)) //nolint:gosec // a mode
			}
		}
		if err != nil && !strings.Contains(err.Error(), "file exists") {
			t.Fatal(err)
		}
	}
}

// devices are those that an engine gives to every container.
func devices(t *testing.T, dir string) {
	t.Helper()
	err := os.MkdirAll(dir, 0o755)
	for name, minor := range map[string]uint32{"null": 3, "zero": 5, "random": 8, "urandom": 9} {
		err = errors.Join(err, unix.Mknod(filepath.Join(dir, name), unix.S_IFCHR|0o666, int(unix.Mkdev(1, minor)))) //nolint:gosec // small
	}
	if err != nil {
		t.Fatal(err)
	}
}
