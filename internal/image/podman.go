package image

import (
	"encoding/binary"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"gitlab.com/skerry/skerry/internal/image/saved"
)

// The user who has the engine in the image of nested engines, and where the engine keeps its images. The executor starts it
// so.
const (
	NestedUID   = 1000
	NestedUser  = "podman"
	NestedHome  = "/home/podman"
	NestedRun   = "/run/user/1000"
	NestedStore = NestedHome + "/.local/share/containers"
	// NestedSocket is where the engine listens, for its own containers and for jobs alike.
	NestedSocket = "/.skerry/nested/podman.sock"
)

// LabelNested says that an image is made for nested engines, and by which rules: among them that newuidmap and newgidmap have file
// capabilities.
const (
	LabelNested = "com.gitlab.skerry.nested"
	nestedRules = "1"
)

// NestedIDs is how many users the container of a nested engine has when its own have all up to lastID.
const NestedIDs = lastID + 1

// lastID is the last user that containers of a nested engine have: with those below it all fit into the 65,536 that a user
// of this machine has by default, for a rootless engine outside.
const lastID = 65535

// NestedRanges are the lines of /etc/subuid or /etc/subgid for a nested engine whose container has so many ids. The error says
// that it cannot have containers of its own with so few.
func NestedRanges(ids int) (string, error) {
	if ids <= NestedUID+1 {
		return "", fmt.Errorf("the containers of the engine outside have %d ids, and the engines of jobs need more than %d: give its user 65536 in /etc/subuid and /etc/subgid, "+
			"then run `podman system migrate` as that user", ids, NestedUID+1)
	}
	last := min(ids-1, lastID)
	return fmt.Sprintf("%s:1:%d\n%s:%d:%d\n", NestedUser, NestedUID-1, NestedUser, NestedUID+1, last-NestedUID), nil
}

// nestedConf is how Podman runs in a container that has neither systemd nor a control group of its own to manage.
const nestedConf = `[containers]
log_driver = "k8s-file"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
`

// nestedStorage has the kernel's own overlay, whatever the base would have in its place. The directories are root's.
const nestedStorage = `[storage]
driver = "overlay"
runroot = "/run/containers/storage"
graphroot = "/var/lib/containers/storage"
`

// NoPodmanError says that an image cannot be that of nested engines.
type NoPodmanError struct {
	Image   string
	Missing []string // programs
}

func (e *NoPodmanError) Error() string {
	return fmt.Sprintf("the image %s has no %s: take an image with rootless Podman (quay.io/podman/stable), or install it in one of yours "+
		"(Debian, Ubuntu: podman crun uidmap netavark aardvark-dns passt catatonit nftables ca-certificates)", e.Image, strings.Join(e.Missing, ", no "))
}

// Podman plans the image of the engines that jobs get for containers of their own: base, which is called baseName, with a
// user for rootless Podman and that user's ranges of ids. What the ids are mapped with has file capabilities in the place of
// setuid, and no other program of the image gives rights to who runs it. The error is *NoPodmanError when a program is missing.
func Podman(base *saved.Image, baseName, tag string) (*Derived, error) {
	dirs := programDirs(base)
	program, missing := map[string]string{}, []string(nil)
	for _, name := range []string{"podman", "newuidmap", "newgidmap"} {
		if program[name] = find(base, dirs, name); program[name] == "" {
			missing = append(missing, name)
		}
	}
	if find(base, dirs, "crun") == "" && find(base, dirs, "runc") == "" {
		missing = append(missing, "crun")
	}
	if len(missing) > 0 {
		return nil, &NoPodmanError{Image: baseName, Missing: missing}
	}
	d := &Derived{Change: saved.Change{
		Tag: tag, By: "skerry image build podman", Labels: keep(baseName), Env: map[string]string{"PODMAN_IGNORE_CGROUPSV1_WARNING": "1"},
		DropVolume: func(string) bool { return true },
	}}
	d.Change.Labels[labelPart], d.Change.Labels[LabelNested] = "nested", nestedRules
	if base.Config.User != "" { // whose name or number may be the engine's user's now
		d.Change.User = NestedUser
	}
	t := newTop(base)
	if err := disarm(base, t, program); err != nil {
		return nil, err
	}
	if err := nestedFiles(base, t); err != nil {
		return nil, err
	}
	var err error
	d.Change.Top, err = t.archive()
	d.note("Podman is %s; newuidmap and newgidmap have file capabilities; its containers have the ids up to %d.", program["podman"], lastID)
	if find(base, dirs, "pasta") == "" && find(base, dirs, "slirp4netns") == "" {
		d.note("It has neither pasta nor slirp4netns: nested containers have no network but the job's own (--network host).")
	}
	if find(base, append(dirs, "/usr/libexec/podman"), "catatonit") == "" {
		d.note("It has no catatonit: jobs can have no pods, and no containers with --init.")
	}
	return d, err
}

// Capabilities by their numbers. Source: linux/capability.h.
const (
	capSetgid = 6
	capSetuid = 7
)

// disarm takes setuid, setgid and file capabilities from all programs of the image, and gives newuidmap and newgidmap what they need.
func disarm(base *saved.Image, t *top, program map[string]string) error {
	caps := map[string]uint{}
	for name, c := range map[string]uint{"newuidmap": capSetuid, "newgidmap": capSetgid} {
		found, err := base.Find(program[name])
		if err != nil {
			return err
		}
		caps[found.Path] = c
	}
	files := map[string]saved.File{}
	base.Walk("/", func(p string, f saved.File) {
		_, wanted := caps[p]
		if f.Mode.IsRegular() && (wanted || f.Capable || f.Mode&(fs.ModeSetuid|fs.ModeSetgid) != 0) {
			files[p] = f
		}
	})
	for p, f := range files {
		raw, err := base.Read(saved.Found{File: f, Path: p}, maxProgram)
		if err != nil {
			return fmt.Errorf("look at %s of the image: %w", p, err)
		}
		t.text(p, int64(f.Mode.Perm()), string(raw))
		if c, ok := caps[p]; ok {
			t.attribute(p, "security.capability", fileCapability(c))
		}
	}
	return nil
}

// maxProgram bounds a program that gives rights, in bytes.
const maxProgram = 64 << 20

// fileCapability is the attribute of a file that gives one capability, permitted and effective, to who runs it.
// Source: linux/capability.h, struct vfs_cap_data.
func fileCapability(c uint) string {
	const revision2, effective = 0x02000000, 1
	var b [20]byte
	binary.LittleEndian.PutUint32(b[:], revision2|effective)
	binary.LittleEndian.PutUint32(b[4:], 1<<c)
	return string(b[:])
}

// nestedFiles are the user, the ranges, directories and settings.
func nestedFiles(base *saved.Image, t *top) error {
	id := strconv.Itoa(NestedUID)
	for _, f := range []struct{ path, line string }{
		{"/etc/passwd", NestedUser + ":x:" + id + ":" + id + "::" + NestedHome + ":/bin/sh"},
		{"/etc/group", NestedUser + ":x:" + id + ":"},
	} {
		text, err := withEntry(base, f.path, f.line)
		if err != nil {
			return err
		}
		t.text(f.path, 0o644, text)
	}
	ranges, err := NestedRanges(NestedIDs)
	if err != nil {
		return err
	}
	t.text("/etc/subuid", 0o644, ranges)
	t.text("/etc/subgid", 0o644, ranges)
	for _, p := range []string{"/etc", NestedHome + "/.config"} { // the user's own counts more: a base may have one
		t.text(p+"/containers/containers.conf", 0o644, nestedConf)
	}
	t.text("/etc/containers/storage.conf", 0o644, nestedStorage)
	if _, err := base.Find("/etc/containers/policy.json"); err != nil {
		t.text("/etc/containers/policy.json", 0o644, `{"default": [{"type": "insecureAcceptAnything"}]}`+"\n")
	}
	t.dir("/home", 0o755)
	for _, p := range []string{NestedHome, NestedHome + "/.local", NestedHome + "/.local/share", NestedStore, NestedHome + "/.config", NestedHome + "/.config/containers", NestedRun} {
		t.dir(p, 0o700)
		t.own(p, NestedUID)
	}
	for _, p := range []string{"/run/podman/podman.sock", "/run/docker.sock"} { // containers that are given the engine look for it there
		t.link(p, NestedSocket)
	}
	return nil
}

// withEntry is a file of /etc with a line for the user.
func withEntry(base *saved.Image, p, line string) (string, error) {
	text := ""
	if found, err := base.Find(p); err == nil {
		raw, err := base.Read(found, maxConf)
		if err != nil {
			return "", fmt.Errorf("look at %s of the image: %w", path.Base(p), err)
		}
		text = string(raw)
	}
	return entered(text, line), nil
}

// entered is the text of passwd or group with a line, in the place of those with the same name or number.
func entered(text, line string) string {
	name, rest, _ := strings.Cut(line, ":")
	id := strings.Split(rest, ":")[1]
	var out strings.Builder
	for l := range strings.Lines(text) {
		fields := strings.Split(strings.TrimSpace(l), ":")
		if len(fields) < 3 || fields[0] != name && fields[2] != id {
			out.WriteString(strings.TrimRight(l, "\n") + "\n")
		}
	}
	return out.String() + line + "\n"
}
