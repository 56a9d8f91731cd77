// Package image assembles container images on this machine, without a registry and without an engine
// that builds: the helper image out of the machine's own git.
package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"gitlab.com/skerry/skerry/internal/image/hostfiles"
)

// HelperName is the repository of helper images that are assembled here. The tag is the fingerprint of what
// they are made of.
const HelperName = "localhost/skerry-helper"

// PublicHelper returns a public image with git, git-lfs and certificates for an architecture ("amd64"), for
// engines that a helper cannot be assembled for; empty where there is none.
func PublicHelper(arch string) string {
	names := map[string]string{"amd64": "x86_64", "arm64": "arm64"}
	if names[arch] == "" {
		return ""
	}
	return "registry.gitlab.com/gitlab-org/gitlab-runner/gitlab-runner-helper:" + names[arch] + "-v19.3.0"
}

// Helper is a helper image that can be assembled on this machine.
type Helper struct {
	files *hostfiles.Set
	path  []string // where its programs are
	// Ref is its name with the tag.
	Ref string
	// Arch is the architecture that it runs on, as Go names it.
	Arch string
	// Parts is what it has of programs that are not always there: "git-lfs", "ssh", "bash".
	Parts []string
}

// tools are for hooks and for the parts of git that are shell scripts; what is missing is left out.
const tools = "sh bash cat ls mkdir rmdir rm mv cp ln chmod chown sed grep awk basename dirname tr cut head tail wc sort uniq env printf " +
	"test true false sleep date id uname touch find xargs tar gzip tee expr readlink realpath mktemp stat du df sha256sum md5sum ssh ssh-keyscan ssh-agent ssh-add"

// unneeded of git's own programs: servers, mail, and what needs Perl or Python.
const unneeded = " git-http-push git-imap-send git-daemon git-shell git-http-backend scalar git-p4 git-svn git-cvsserver git-send-email git-instaweb git-subtree " +
	"git-add--interactive git-archimport git-cvsexportcommit git-cvsimport git-filter-branch git-http-fetch "

// NewHelper looks at what this machine has. It fails when git or a shell is missing.
func NewHelper(ctx context.Context) (*Helper, error) {
	h := &Helper{
		files: hostfiles.New("/"), Arch: runtime.GOARCH,
		path: []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"},
	}
	if err := h.git(ctx); err != nil {
		return nil, err
	}
	for t := range strings.FieldsSeq(tools) {
		p, err := exec.LookPath(t)
		if err == nil {
			err = h.program(p)
		}
		switch {
		case err != nil && t == "sh":
			return nil, fmt.Errorf("assemble a helper image: sh: %w", err)
		case err == nil && (t == "ssh" || t == "bash"):
			h.Parts = append(h.Parts, t)
		}
	}
	for _, lib := range []string{"libnss_files.so.2", "libnss_dns.so.2", "libresolv.so.2", "libgcc_s.so.1"} {
		if err := h.files.Library(lib); err != nil {
			return nil, fmt.Errorf("assemble a helper image: %w", err)
		}
	}
	if err := h.certificates(); err != nil {
		return nil, err
	}
	h.own()
	h.Ref = HelperName + ":" + h.files.Fingerprint()
	return h, nil
}

// program adds a program that is found by its name.
func (h *Helper) program(p string) error {
	h.findAt(p)
	return h.files.Program(p)
}

// findAt puts a program's directory into PATH.
func (h *Helper) findAt(p string) {
	if dir := filepath.Dir(p); !slices.Contains(h.path, dir) {
		h.path = append(h.path, dir)
	}
}

// git adds git, the programs that it runs, and git-lfs where there is one.
func (h *Helper) git(ctx context.Context) error {
	git, err := exec.LookPath("git")
	if err != nil {
		return fmt.Errorf("assemble a helper image: git %w: install it, or set `helper_image` in [runners.docker] to an image that has it", hostfiles.ErrNoProgram)
	}
	out, err := exec.CommandContext(ctx, git, "--exec-path").Output()
	if err != nil {
		return fmt.Errorf("assemble a helper image: git --exec-path: %w", err)
	}
	dir := strings.TrimSpace(string(out))
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("assemble a helper image: %w", err)
	}
	h.findAt(git)
	programs := []string{git}
	for _, e := range entries {
		if !e.IsDir() && !strings.Contains(unneeded, " "+e.Name()+" ") {
			programs = append(programs, filepath.Join(dir, e.Name()))
		}
	}
	for _, p := range programs {
		// A part of git whose interpreter is missing does not work here either.
		if err := h.files.Program(p); err != nil && (p == git || !errors.Is(err, fs.ErrNotExist)) {
			return fmt.Errorf("assemble a helper image: %w", err)
		}
	}
	if lfs, err := exec.LookPath("git-lfs"); err == nil {
		if err := h.program(lfs); err != nil {
			return fmt.Errorf("assemble a helper image: %w", err)
		}
		h.Parts = append(h.Parts, "git-lfs")
	}
	return nil
}

// certificates adds the machine's certificate authorities wherever its programs look for them.
func (h *Helper) certificates() error {
	found := false
	for _, p := range []string{
		"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem",
		"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "/etc/ssl/cert.pem", "/etc/ssl/certs/ca-bundle.crt",
	} {
		if _, err := h.files.Add(p); err == nil {
			found = true
		} else if !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("assemble a helper image: %w", err)
		}
	}
	if found {
		h.Parts = append(h.Parts, "certificates")
	}
	return nil
}

// own adds what a file system needs that is not the machine's.
func (h *Helper) own() {
	h.files.Text("/etc/passwd", 0o644, "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")
	h.files.Text("/etc/group", 0o644, "root:x:0:\nnogroup:x:65534:\n")
	h.files.Text("/etc/nsswitch.conf", 0o644, "passwd: files\ngroup: files\nhosts: files dns\n")
	h.files.Dir("/root", 0o700)
	h.files.Dir("/tmp", 0o777|fs.ModeSticky)
	h.files.Dir("/var/tmp", 0o777|fs.ModeSticky)
	// What engines and the runner mount something at is there: else it is made for every container, and removed again.
	for _, dir := range []string{"/.skerry/bin", "/.skerry/state", "/builds", "/cache", "/dev", "/proc", "/run", "/sys"} {
		h.files.Dir(dir, 0o755)
	}
	for _, file := range []string{"/etc/hostname", "/etc/hosts", "/etc/resolv.conf"} {
		h.files.Text(file, 0o644, "")
	}
}

// Write writes the image as an archive that engines load (docker load).
func (h *Helper) Write(out io.Writer) error {
	var layer bytes.Buffer
	if err := h.files.Tar(&layer); err != nil {
		return fmt.Errorf("assemble a helper image: %w", err)
	}
	ref, err := name.ParseReference(h.Ref)
	if err != nil {
		return fmt.Errorf("assemble a helper image: %w", err)
	}
	img, err := assemble(layer.Bytes(), func(f *v1.ConfigFile) {
		f.OS, f.Architecture = "linux", h.Arch
		f.Config.Env = []string{"PATH=" + strings.Join(h.path, ":")}
		f.Config.Cmd = []string{"/bin/sh"}
		f.Config.Labels = map[string]string{"com.gitlab.skerry.image": "helper"}
	})
	if err != nil {
		return fmt.Errorf("assemble a helper image: %w", err)
	}
	if err := tarball.Write(ref, img, out); err != nil {
		return fmt.Errorf("assemble a helper image: %w", err)
	}
	return nil
}

// assemble makes an image of one layer.
func assemble(layer []byte, configure func(*v1.ConfigFile)) (v1.Image, error) {
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(layer)), nil })
	if err != nil {
		return nil, err
	}
	img, err := mutate.AppendLayers(empty.Image, l)
	if err != nil {
		return nil, err
	}
	f, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	f = f.DeepCopy()
	configure(f)
	return mutate.ConfigFile(img, f)
}
