package image

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
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

// NixDaemon plans the image of a Nix daemon: base, which is called baseName, with build users where it has none, and labels. The
// error is *NoNixError when it has no Nix.
func NixDaemon(base *saved.Image, baseName, tag string) (*Derived, error) {
	dirs := programDirs(base)
	program, name := "", ""
	for _, name = range []string{"nix-daemon", "nix"} {
		if program = find(base, dirs, name); program != "" {
			break
		}
	}
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
	if err := buildUsers(base, t, d); err != nil {
		return nil, err
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

// The build users that Nix's own installer makes: so many builds can run at once.
const (
	buildGroup    = "nixbld"
	buildGroupID  = 30000
	buildUserID   = 30001
	buildUserMany = 32
	maxUserFile   = 1 << 20 // bytes of /etc/passwd or /etc/group
)

// buildUsers adds users for builds, unless the image has some.
func buildUsers(base *saved.Image, t *top, d *Derived) error {
	group, err := lines(base, "/etc/group")
	if err != nil {
		return err
	}
	passwd, err := lines(base, "/etc/passwd")
	if err != nil {
		return err
	}
	if slices.ContainsFunc(group, func(l string) bool { return strings.HasPrefix(l, buildGroup+":") }) {
		return nil
	}
	ids := map[string]bool{}
	for _, l := range slices.Concat(group, passwd) {
		if f := strings.Split(l, ":"); len(f) > 2 {
			ids[f[2]] = true
		}
	}
	first := buildUserID
	for taken(ids, first-1) {
		first += 1000
	}
	var members []string
	for n := range buildUserMany {
		name := buildGroup + strconv.Itoa(n+1)
		members = append(members, name)
		passwd = append(passwd, fmt.Sprintf("%s:x:%d:%d:Nix build user %d:/var/empty:/sbin/nologin", name, first+n, first-1, n+1))
	}
	group = append(group, fmt.Sprintf("%s:x:%d:%s", buildGroup, first-1, strings.Join(members, ",")))
	t.text("/etc/passwd", 0o644, strings.Join(passwd, "\n")+"\n")
	t.text("/etc/group", 0o644, strings.Join(group, "\n")+"\n")
	d.note("It had no users for builds: %s1 to %s%d were added.", buildGroup, buildGroup, buildUserMany)
	return nil
}

// taken reports whether an id of the range that begins with first is in use.
func taken(ids map[string]bool, first int) bool {
	for n := range buildUserMany + 1 {
		if ids[strconv.Itoa(first+n)] {
			return true
		}
	}
	return false
}

// lines are those of a file of the image; none when it is not there.
func lines(base *saved.Image, p string) ([]string, error) {
	f, err := base.Find(p)
	if err != nil {
		return nil, nil //nolint:nilerr // it is not there
	}
	raw, err := base.Read(f, maxUserFile)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("look at %s of the image", p), err)
	}
	return strings.FieldsFunc(string(raw), func(c rune) bool { return c == '\n' }), nil
}
