package image

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	"gitlab.com/skerry/skerry/internal/image/saved"
)

// The labels of images for Nix.
const (
	labelPart      = "com.gitlab.skerry.part"
	labelNoPrune   = "com.gitlab.skerry.no-prune"
	labelBase      = "com.gitlab.skerry.base"
	labelNix       = "com.gitlab.skerry.nix"        // "path": jobs get the store's Nix in PATH
	labelNixDaemon = "com.gitlab.skerry.nix-daemon" // where the program is
)

// keep are labels with which neither Skerry nor the usual prune commands of engines remove an image.
func keep(base string) map[string]string {
	return map[string]string{labelNoPrune: "true", "no-prune": "true", labelBase: base}
}

// NoNixError says that an image cannot be that of a Nix daemon.
type NoNixError struct {
	Image string
	Dirs  []string // where its programs were looked for
}

func (e *NoNixError) Error() string {
	return fmt.Sprintf("the image %s has no Nix: neither nix-daemon nor nix is in %s; take an image with Nix (nixos/nix), or install it in one of yours (Debian, Ubuntu: nix-bin; Alpine: nix)",
		e.Image, strings.Join(e.Dirs, ", "))
}

// Derived is an image to be made of another one.
type Derived struct {
	Change saved.Change
	// Notes say what was changed and what has to be minded, each a sentence for the operator.
	Notes []string
}

func (d *Derived) note(format string, args ...any) {
	d.Notes = append(d.Notes, fmt.Sprintf(format, args...))
}

// NixDaemon plans the image of a Nix daemon: base, which is called baseName, with labels. The
// error is *NoNixError when it has no Nix.
func NixDaemon(base *saved.Image, baseName, tag string) (*Derived, error) {
	dirs := programDirs(base)
	program := cmp.Or(find(base, dirs, "nix-daemon"), find(base, dirs, "nix"))
	if program == "" {
		return nil, &NoNixError{Image: baseName, Dirs: dirs}
	}
	d := &Derived{Change: saved.Change{Tag: tag, By: "skerry image build nix-daemon", Labels: keep(baseName)}}
	d.Change.Labels[labelPart], d.Change.Labels[labelNixDaemon] = "nix-daemon", program
	t := newTop(base)
	for p, mode := range map[string]int64{storeDir: 0o1775, "/nix/var/nix": 0o755} { // as Nix makes them
		if _, has := base.Lookup(p); !has {
			t.dir(p, mode)
		}
	}
	var err error
	d.Change.Top, err = t.archive()
	d.note("Nix is %s.", program)
	return d, err
}

// programDirs are where an image's programs are looked for: its PATH, and where installations of Nix have theirs.
func programDirs(base *saved.Image) []string {
	dirs := strings.Split("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", ":")
	for _, e := range base.Config.Env {
		if p, ok := strings.CutPrefix(e, "PATH="); ok {
			dirs = strings.Split(p, ":")
		}
	}
	for _, more := range []string{"/nix/var/nix/profiles/default/bin", "/root/.nix-profile/bin", "/usr/bin"} {
		if !slices.Contains(dirs, more) {
			dirs = append(dirs, more)
		}
	}
	return slices.DeleteFunc(dirs, func(d string) bool { return !path.IsAbs(d) })
}

// find is the path of a program by its name, as it is found in one of dirs; empty when it is in none.
func find(base *saved.Image, dirs []string, name string) string {
	for _, dir := range dirs {
		p := path.Join(dir, name)
		if f, err := base.Find(p); err == nil && f.Mode.IsRegular() && f.Mode&0o111 != 0 {
			return p
		}
	}
	return ""
}
