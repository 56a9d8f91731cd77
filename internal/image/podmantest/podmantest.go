// Package podmantest gives tests and benchmarks the image of nested engines, made of Debian's Podman.
package podmantest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"gitlab.com/skerry/skerry/internal/image"
	"gitlab.com/skerry/skerry/internal/image/saved"
	"gitlab.com/skerry/skerry/internal/image/savedtest"
	"gitlab.com/skerry/skerry/internal/nixstore/nixtest"
)

// archive is that of an image with Debian's Podman, Buildah and git; another list of packages takes another name.
var archive = filepath.Join(nixtest.Cache, "podman-buildah-trixie-image.tar") //nolint:gochecknoglobals // a constant

// Base makes sure of an image with Podman, which takes a minute once and needs root and Debian's packages. A test that
// wants it for several engines calls it first: as a rootless engine's user it could not. Where it cannot be made the test
// fails in CI, and is skipped elsewhere.
func Base(t *testing.T) {
	t.Helper()
	if err := makeBase(t.Context()); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
}

// BaseName is the image's name in BaseArchive.
const BaseName = "skerry.test/podman-base:latest"

// BaseArchive is the image that Base makes sure of, as an archive that engines load. It has git, too.
func BaseArchive() string { return archive }

func makeBase(ctx context.Context) error {
	if _, err := os.Stat(archive); err == nil {
		return nil
	}
	if os.Getuid() != 0 {
		return fmt.Errorf("there is no %s, and only root can make it: call podmantest.Base in the test", archive)
	}
	unlock, err := nixtest.Lock(archive)
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := os.Stat(archive); err == nil {
		return nil
	}
	root := archive + ".root"
	defer os.Remove(root)
	// The programs in libexec that are left out are for the tests of these packages, and half of their size.
	const keys = "/usr/share/keyrings/debian-archive-keyring.gpg"
	if out, err := exec.CommandContext(ctx, "mmdebstrap", "--quiet", "--variant=minbase", "--keyring="+keys,
		"--include=podman,buildah,crun,uidmap,netavark,aardvark-dns,passt,catatonit,nftables,ca-certificates,git,busybox-static", "--dpkgopt=path-exclude=/usr/share/man/*",
		"--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/locale/*",
		"--dpkgopt=path-exclude=/usr/libexec/buildah/*", "--dpkgopt=path-exclude=/usr/libexec/podman/podman-testing",
		"--format=tar", "trixie", root,
		fmt.Sprintf("deb [signed-by=%s] http://deb.debian.org/debian trixie main", keys)).CombinedOutput(); err != nil {
		return fmt.Errorf("mmdebstrap: %w: %s", err, out)
	}
	if err := writeBase(root, archive+".new"); err != nil {
		return err
	}
	return os.Rename(archive+".new", archive)
}

func writeBase(root, to string) error {
	f, err := os.Create(to)
	if err != nil {
		return err
	}
	return errors.Join(savedtest.WriteRoot(f, BaseName, root, ""), f.Close())
}

// Image is that of nested engines as `skerry image build podman` makes it of archive. It has podman and buildah for jobs, too.
type Image struct {
	Name string // says what is in it

	base *saved.Image
	file *os.File
	made *image.Derived
}

// New opens it, and makes its base if that is not there. The caller closes it.
func New(ctx context.Context) (*Image, error) {
	if err := makeBase(ctx); err != nil {
		return nil, err
	}
	f, err := os.Open(archive)
	if err != nil {
		return nil, err
	}
	p := &Image{file: f}
	if err := p.derive(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return p, nil
}

func (p *Image) derive() error {
	info, err := p.file.Stat()
	if err == nil {
		p.base, err = saved.Open(p.file, info.Size())
	}
	if err == nil {
		p.made, err = image.Podman(p.base, "skerry.test/podman-base", "to be named")
	}
	if err != nil {
		return err
	}
	sum := sha256.Sum256(p.made.Change.Top)
	p.Name = fmt.Sprintf("skerry.test/podman:%x-%s", info.ModTime().UnixNano(), hex.EncodeToString(sum[:6]))
	p.made.Change.Tag = p.Name
	return nil
}

// Write writes the archive that engines load.
func (p *Image) Write(w io.Writer) error { return p.base.Write(w, p.made.Change) }

// Close ends the use of it.
func (p *Image) Close() error { return p.file.Close() }
