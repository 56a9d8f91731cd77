package image

import (
	"fmt"
	"io/fs"
	"path"
	"strings"

	"gitlab.com/skerry/skerry/internal/image/saved"
)

// defaultNixConf is what a job's Nix is told where its image says nothing.
const defaultNixConf = "experimental-features = nix-command flakes\n"

// maxConf bounds a file of /etc, in bytes.
const maxConf = 1 << 20

// NixJob plans the image of jobs that get their store from a daemon: base, which is called baseName, without its store
// paths and without what Nix remembers of them, with the directories that Nix wants.
func NixJob(base *saved.Image, baseName, tag string) (*Derived, error) {
	d := &Derived{Change: saved.Change{
		Tag: tag, By: "skerry image build job", Drop: ofStore,
		DropVolume: func(p string) bool { return p == "/nix" || strings.HasPrefix(p, "/nix/") },
		Env:        map[string]string{"NIX_REMOTE": "daemon"}, Labels: keep(baseName),
	}}
	d.Change.Labels[labelNix] = "path"
	t := newTop(base)
	for _, dir := range []struct {
		path string
		mode int64
	}{
		{storeDir, 0o755}, {"/nix/var/nix/temproots", 0o755}, {"/nix/var/nix/userpool", 0o755}, {"/nix/var/log/nix/drvs", 0o755},
		{"/nix/var/nix/gcroots/per-user", 0o1777}, {"/nix/var/nix/profiles/per-user", 0o1777}, {"/nix/var/nix/profiles/per-user/root", 0o755},
		{"/tmp", 0o1777},
	} {
		if f, ok := base.Lookup(dir.path); ok && f.Mode&fs.ModeSymlink != 0 && dir.path == "/tmp" {
			continue
		}
		t.dir(dir.path, dir.mode)
	}
	if _, has := base.Lookup("/root"); !has {
		t.dir("/root", 0o700)
	}
	if _, has := base.Lookup("/root/.nix-defexpr"); !has {
		t.dir("/root/.nix-defexpr", 0o700)
	}
	if err := nixConf(base, t, d); err != nil {
		return nil, err
	}
	if err := settle(base, t, d); err != nil {
		return nil, err
	}
	d.reportStore(base)
	d.reportPrograms(base)
	var err error
	d.Change.Top, err = t.archive()
	return d, err
}

// ofStore reports whether a file is a store path, below one, or Nix's memory of some.
func ofStore(name string) bool {
	for _, dir := range []string{"store", "var/nix/db", "var/nix/temproots", "var/nix/userpool", "var/nix/userpool2", "var/nix/gcroots/auto", "var/nix/daemon-socket"} {
		if strings.HasPrefix(name, "nix/"+dir+"/") {
			return true
		}
	}
	return false
}

// nixConf gives the image a nix.conf that jobs can write, with what the base's says.
func nixConf(base *saved.Image, t *top, d *Derived) error {
	const p = "/etc/nix/nix.conf"
	found, missing := base.Find(p)
	switch {
	case missing != nil:
		t.text(p, 0o644, defaultNixConf)
		return nil //nolint:nilerr // it is mended
	case !found.Through(storeDir):
		return nil
	}
	raw, err := base.Read(found, maxConf)
	if err != nil {
		return fmt.Errorf("look at %s of the image: %w", p, err)
	}
	text := string(raw)
	if !strings.Contains(text, "experimental-features") {
		text = strings.TrimSuffix(text, "\n") + "\n" + defaultNixConf
	}
	t.text(p, 0o644, text)
	d.note("%s was a link into the store: it is a file now, which jobs can write.", p)
	return nil
}

// settle makes files of links into the store that engines follow before a job has its store.
func settle(base *saved.Image, t *top, d *Derived) error {
	for _, p := range []string{"/etc/passwd", "/etc/group", "/etc/shadow", "/etc/nsswitch.conf", "/etc/os-release"} {
		found, err := base.Find(p)
		if err != nil || !found.Through(storeDir) {
			continue
		}
		raw, err := base.Read(found, maxConf)
		if err != nil {
			return fmt.Errorf("look at %s of the image: %w", p, err)
		}
		t.text(p, bits(found.Mode)|0o200, string(raw))
		d.note("%s was a link into the store: it is a file now.", p)
	}
	return nil
}

// reportStore notes what was left out.
func (d *Derived) reportStore(base *saved.Image) {
	paths, size := map[string]bool{}, int64(0)
	base.Walk(storeDir, func(p string, f saved.File) {
		first, _, _ := strings.Cut(strings.TrimPrefix(p, storeDir+"/"), "/")
		if first != ".links" {
			paths[first] = true
		}
		if f.Mode.IsRegular() {
			size += f.Size
		}
	})
	if len(paths) == 0 {
		d.note("The base has no store paths: nothing was left out.")
		return
	}
	d.note("Left out: %d store paths with %s, and Nix's database of them.", len(paths), megabytes(size))
}

func megabytes(n int64) string {
	if n < 1<<20 {
		return fmt.Sprintf("%.1f kB", float64(n)/1024)
	}
	return fmt.Sprintf("%.1f MB", float64(n)/(1<<20))
}

// reportPrograms notes which programs a container begins with are in the store: it cannot begin without them.
func (d *Derived) reportPrograms(base *saved.Image) {
	programs := []string{"/bin/sh"}
	if e := base.Config.Entrypoint; len(e) > 0 {
		p := e[0]
		if !path.IsAbs(p) {
			p = find(base, programDirs(base), p)
		}
		if p != "" && p != programs[0] {
			programs = append(programs, p)
		}
	}
	var inside []string
	for _, p := range programs {
		if f, err := base.Find(p); err == nil && f.Through(storeDir) {
			inside = append(inside, p)
		}
	}
	if len(inside) > 0 {
		d.note("%s is in the store: jobs need a store that has it, so make the daemon's image of the same base (skerry image build nix-daemon --from …).", strings.Join(inside, ", "))
	}
}
