package enginetest

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"gitlab.com/skerry/skerry/internal/image/savedtest"
	"gitlab.com/skerry/skerry/internal/nixstore/nixtest"
)

// Nix says what image with Nix a test wants.
type Nix string

// The images with Nix.
const (
	NixOld   Nix = "bookworm" // Debian's Nix 2.8, in /usr/bin
	NixNew   Nix = "trixie"   // Debian's Nix 2.26, in /usr/bin, or the one of the release that nixtest.Variable names
	NixStore Nix = "store"    // the latter in /nix/store, found by a profile, as in nixos/nix; nothing else but a busybox
)

// NixBases makes sure of all file systems, which takes minutes once and needs root and Debian's packages. A test that
// wants images for several engines calls it first: as a rootless engine's user it could not.
func NixBases(t *testing.T) {
	t.Helper()
	for _, n := range []Nix{NixOld, NixNew, NixStore} {
		nixBase(t, n)
	}
}

// NixImage gives the engine an image with Nix, and returns its name. Its entrypoint is none, its command a shell.
func (e Engine) NixImage(t *testing.T, n Nix) string {
	t.Helper()
	if more := os.Getenv(nixtest.Variable); n == NixNew && more != "" {
		n = Nix(more)
	}
	base := nixBase(t, n)
	i, err := os.Stat(base)
	if err != nil {
		t.Fatal(err)
	}
	image := fmt.Sprintf("skerry.test/nix-%s:%x", n, i.ModTime().UnixNano())
	defer e.loadAlone(t)()
	api := e.Client(t)
	if _, err := api.ImageInspect(t.Context(), image); err == nil {
		return image
	}
	r, w := io.Pipe()
	go func() { _ = w.CloseWithError(writeNixImage(w, image, base, n)) }()
	answer, err := api.ImageLoad(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Close()
	if _, err := io.Copy(io.Discard, answer); err != nil {
		t.Fatal(err)
	}
	return image
}

func writeNixImage(w io.Writer, image, base string, n Nix) error {
	path := ""
	if n == NixStore {
		path = "/root/.nix-profile/bin:/nix/var/nix/profiles/default/bin:/bin"
	}
	return savedtest.WriteRoot(w, image, base, path)
}

// nixBase is the archive of a file system with Nix, made if it is not there.
func nixBase(t *testing.T, n Nix) string {
	t.Helper()
	if n != NixStore {
		base, err := nixtest.Archive(t.Context(), string(n))
		if err != nil {
			t.Fatalf("%v: call NixBases in the test", err)
		}
		return base
	}
	base := filepath.Join(nixtest.Cache, "nix-"+string(n)+".tar")
	if _, err := os.Stat(base); err == nil {
		return base
	}
	if os.Getuid() != 0 {
		t.Fatalf("there is no %s: call NixBases in the test", base)
	}
	debian := nixBase(t, NixNew)
	unlock, err := nixtest.Lock(base)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	if _, err := os.Stat(base); err != nil {
		nixStoreBase(t, debian, base)
	}
	return base
}

// nixStoreBase has the agent serve Debian's Nix from a store, in a chroot with mounts of its own, and makes that the image.
func nixStoreBase(t *testing.T, debian, base string) {
	t.Helper()
	dir := t.TempDir()
	command(t, "tar", "-C", dir, "-xf", debian)
	place(t, Agent(t), filepath.Join(dir, "agent"))
	command(t, "unshare", "--mount", "sh", "-ec", `
		cd "$1"
		for d in store var var/gcroots/skerry; do
			mkdir -p .skerry/nix/$d
			mount --bind .skerry/nix/$d .skerry/nix/$d
		done
		mount --bind /proc proc
		SKERRY_NIXD='{"image":"base"}' chroot . /agent nix seed`, "sh", dir)
	root := filepath.Join(dir, "new")
	tools, err := filepath.Glob(dir + "/.skerry/nix/store/*-skerry-nix-*")
	if err != nil || len(tools) != 1 {
		t.Fatal(tools, err)
	}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	command(t, "sh", "-ec", `
		mkdir -p "$1/nix/var/nix/profiles" "$1/bin" "$1/etc" "$1/root" "$1/tmp" "$1/usr/bin"
		ln -s /bin/busybox "$1/usr/bin/bash-static" # which Debian's Nix has for a shell in the sandbox
		chmod 1777 "$1/tmp"
		mv "$2/store" "$1/nix/store"
		mv "$2/var/db" "$1/nix/var/nix/db"
		cp "$3" "$1/bin/busybox"
		for a in sh cat ls readlink stat rm sleep kill mkdir; do ln -s busybox "$1/bin/$a"; done
		ln -s "/nix/store/$4" "$1/nix/var/nix/profiles/default-1-link"
		ln -s default-1-link "$1/nix/var/nix/profiles/default"
		ln -s /nix/var/nix/profiles/default "$1/root/.nix-profile"
		tar -C "$1" --numeric-owner --owner=0 --group=0 -cf "$5.new" .
		mv "$5.new" "$5"`, "sh", root, dir+"/.skerry/nix", busybox, filepath.Base(tools[0]), base)
	_ = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			return os.Chmod(p, 0o755) //nolint:gosec // so that the test can remove it
		}
		return nil
	})
}

func command(t *testing.T, program string, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", program, err, out)
	}
}
