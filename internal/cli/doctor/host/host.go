// Package host is what `doctor` checks of the machine itself: the files of its kernel and of its configuration that
// container engines depend on. One file is one check. The files are looked for beneath a root, so that a test can prepare
// a machine in a directory; the commands that mend name the machine's own.
package host

import (
	"bufio"
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"gitlab.com/skerry/skerry/internal/cli/doctor/finding"
)

// Machine is the machine that is looked at.
type Machine struct {
	Root string // beneath which its files are: "/"
	UID  int    // of this process
	Path string // a PATH, whose directories are beneath Root
}

// Account is the user whom a rootless engine belongs to.
type Account struct {
	Name   string
	UID    int
	Home   string
	Groups []int // the primary one among them
}

func (m Machine) at(path string) string { return filepath.Join(m.Root, path) }

func (m Machine) has(path string) bool {
	_, err := os.Lstat(m.at(path))
	return err == nil
}

// lines are those of a file; a file that cannot be read has none.
func (m Machine) lines(path string) []string {
	b, err := os.ReadFile(m.at(path))
	if err != nil {
		return nil
	}
	var out []string
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		out = append(out, s.Text())
	}
	return out
}

// word is the content of a file of one line; empty where there is none.
func (m Machine) word(path string) string {
	if l := m.lines(path); len(l) > 0 {
		return strings.TrimSpace(l[0])
	}
	return ""
}

// Find is where a program is, without Root; empty: nowhere.
func (m Machine) Find(program string) string {
	for _, dir := range append(filepath.SplitList(m.Path), "/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin") {
		path := filepath.Join(dir, program)
		if i, err := os.Stat(m.at(path)); err == nil && i.Mode().IsRegular() && i.Mode().Perm()&0o111 != 0 && filepath.IsAbs(path) {
			return path
		}
	}
	return ""
}

// Systemd reports whether systemd runs the machine (sd_booted(3)).
func (m Machine) Systemd() bool { return m.has("/run/systemd/system") }

// InContainer reports whether this is a container of Docker or Podman.
func (m Machine) InContainer() bool { return m.has("/run/.containerenv") || m.has("/.dockerenv") }

// AsRoot is a command that root has to run.
func (m Machine) AsRoot(argv ...string) finding.Command {
	if m.UID != 0 {
		argv = append([]string{"sudo"}, argv...)
	}
	return argv
}

// Append is a command that adds a line to a file of root's, whose last line may have no end.
func (m Machine) Append(path, line string) finding.Command {
	file := finding.Command{path}.String()
	return m.AsRoot("sh", "-c", fmt.Sprintf(`[ -z "$(tail -c1 %[1]s 2>/dev/null)" ] || echo >>%[1]s; %[2]s >>%[1]s`, file, finding.Command{"echo", line}))
}

// NixOS reports whether the machine's configuration is made by NixOS, which undoes what is changed by hand.
func (m Machine) NixOS() bool { return m.has("/etc/NIXOS") }

// As is a command that a user has to run.
func (m Machine) As(a Account, argv ...string) finding.Command {
	if m.UID == a.UID {
		return argv
	}
	environ := []string{"runuser", "-u", a.Name, "--", "env", "HOME=" + a.Home}
	if dir := "/run/user/" + strconv.Itoa(a.UID); m.has(dir) {
		environ = append(environ, "XDG_RUNTIME_DIR="+dir)
	}
	return m.AsRoot(append(environ, argv...)...)
}

// Install is the command that installs a package, named as the machine's distribution names it; nil where the distribution
// is not known. The names are those of Debian and, where they differ there, of Fedora, openSUSE, Arch and Alpine.
func (m Machine) Install(debian, fedora, suse, arch, alpine string) []finding.Command {
	var like []string
	for _, l := range m.lines("/etc/os-release") {
		key, value, _ := strings.Cut(l, "=")
		if key == "ID" || key == "ID_LIKE" {
			like = append(like, strings.Fields(strings.Trim(value, `"'`))...)
		}
	}
	for _, d := range []struct {
		id, name string
		argv     []string
	}{
		{"debian", debian, []string{"apt-get", "install", "-y"}},
		{"fedora", fedora, []string{"dnf", "install", "-y"}},
		{"rhel", fedora, []string{"dnf", "install", "-y"}},
		{"suse", suse, []string{"zypper", "--non-interactive", "install"}},
		{"opensuse", suse, []string{"zypper", "--non-interactive", "install"}},
		{"arch", arch, []string{"pacman", "-S", "--noconfirm"}},
		{"alpine", alpine, []string{"apk", "add"}},
	} {
		if d.name != "" && slices.Contains(like, d.id) {
			return []finding.Command{m.AsRoot(append(d.argv, d.name)...)}
		}
	}
	return nil
}

// mayUse reports whether a path is there, and whether a user may read and write it by its mode.
func (m Machine) mayUse(path string, a Account) (there, may bool) {
	i, err := os.Stat(m.at(path))
	if err != nil {
		return false, false
	}
	return true, allows(i, a, 0o6)
}

// allows reports whether a user has rights, "rwx" as a digit, over a file by its mode.
func allows(i fs.FileInfo, a Account, rights fs.FileMode) bool {
	s, ok := i.Sys().(*syscall.Stat_t)
	if !ok || a.UID == 0 {
		return a.UID == 0
	}
	mode := i.Mode().Perm()
	switch {
	case int(s.Uid) == a.UID:
		mode >>= 6
	case slices.Contains(a.Groups, int(s.Gid)):
		mode >>= 3
	}
	return mode&rights == rights
}
