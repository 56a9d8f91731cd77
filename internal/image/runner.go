package image

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// The users of the runner's own image beside root: podman has the engine, which jobs are containers of, runner has the
// runner. No container of the engine can have the ids of root or runner.
const (
	RunnerUID  = 1001
	RunnerUser = "runner"
	RunnerHome = "/home/runner"
	// RunnerState is where the runner keeps what survives it: a volume of its own.
	RunnerState = "/var/lib/skerry"
	// RunnerSocket is where the engine of the image listens.
	RunnerSocket = "/run/podman/podman.sock"
)

// wholeIDs is how many users each container of the engine has beside its root, when there are enough outside: all 65,535.
const wholeIDs = 65535

// RunnerRanges are the lines of /etc/subuid or /etc/subgid in the runner's own image for the ids that there are: idMap is
// /proc/self/uid_map or gid_map of its first process. All ids but those of root, podman and runner are podman's. missing is
// how many more it would take for containers to have 65,536; the error says that there are too few for podman itself.
func RunnerRanges(idMap string) (lines string, missing int, err error) {
	last := 0
	for line := range strings.Lines(idMap) {
		var inside, outside, count uint32
		if _, err := fmt.Sscan(line, &inside, &outside, &count); err != nil {
			return "", 0, fmt.Errorf("read the map of ids %q: %w", strings.TrimSpace(line), err)
		}
		if int64(inside) <= int64(last)+1 {
			last = max(last, int(int64(inside)+int64(count)-1))
		}
	}
	if last <= RunnerUID {
		return "", 0, fmt.Errorf("the container has the ids up to %d, and jobs need more: give the user of the engine outside 65539 in /etc/subuid and /etc/subgid, "+
			"then run `podman system migrate` as that user", last)
	}
	below, above := NestedUID-1, min(wholeIDs-(NestedUID-1), last-RunnerUID)
	return fmt.Sprintf("%s:1:%d\n%s:%d:%d\n", NestedUser, below, NestedUser, RunnerUID+1, above), wholeIDs - below - above, nil
}

// runnerStorage has the kernel's overlay in podman's part of the volume.
const runnerStorage = `[storage]
driver = "overlay"
runroot = "` + NestedRun + `/containers"
graphroot = "` + NestedStore + `/storage"
`

// managers are programs that install others.
const managers = "apt apt-get apt-cache apt-cdrom apt-config apt-key apt-mark dpkg dpkg-deb dpkg-divert dpkg-query dpkg-split dpkg-statoverride dpkg-trigger " +
	"dnf dnf4 dnf5 dnf-3 microdnf yum rpm rpm2cpio rpmdb rpmkeys rpmquery rpmverify zypper apk"

// PrepareRunner makes the file system at root, which has Podman and is the one that the program runs in, that of the runner's
// own image: users, ranges of ids, settings and directories. No program has setuid or setgid any more; what ids are mapped
// with has file capabilities in its place. Without dev, programs that install others go. Done twice it is as done once.
func PrepareRunner(root string, dev bool) error {
	r := runnerRoot{root}
	if err := r.programs(dev); err != nil {
		return err
	}
	if err := r.settings(); err != nil {
		return err
	}
	return r.directories()
}

// runnerRoot is the directory that becomes the root of the image.
type runnerRoot struct{ dir string }

func (r runnerRoot) at(p string) string { return filepath.Join(r.dir, p) }

// programs looks for those that are needed and takes away what gives rights.
func (r runnerRoot) programs(dev bool) error {
	dirs := []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}
	find := func(name string) string {
		for _, d := range dirs {
			if i, err := os.Stat(r.at(path.Join(d, name))); err == nil && i.Mode().IsRegular() {
				return r.at(path.Join(d, name))
			}
		}
		return ""
	}
	var missing []string
	for _, name := range []string{"podman", "newuidmap", "newgidmap", "git"} {
		if find(name) == "" {
			missing = append(missing, name)
		}
	}
	if find("crun") == "" && find("runc") == "" {
		missing = append(missing, "crun")
	}
	if len(missing) > 0 {
		return fmt.Errorf("there is no %s: install it in the base (Debian: podman crun uidmap netavark aardvark-dns passt catatonit nftables ca-certificates git)",
			strings.Join(missing, ", no "))
	}
	if !dev {
		for name := range strings.FieldsSeq(managers) {
			for _, d := range dirs {
				if err := os.Remove(r.at(path.Join(d, name))); err != nil && !errors.Is(err, fs.ErrNotExist) {
					return err
				}
			}
		}
	}
	if err := r.disarm(); err != nil {
		return err
	}
	for name, c := range map[string]uint{"newuidmap": capSetuid, "newgidmap": capSetgid} {
		if err := unix.Setxattr(find(name), "security.capability", []byte(fileCapability(c)), 0); err != nil {
			return fmt.Errorf("give %s its file capability: %w", find(name), err)
		}
	}
	return nil
}

// disarm takes setuid and setgid from all programs.
func (r runnerRoot) disarm() error {
	const special = fs.ModeSetuid | fs.ModeSetgid
	for _, top := range []string{"/usr", "/opt", "/bin", "/sbin", "/lib"} {
		if i, err := os.Lstat(r.at(top)); err != nil || !i.IsDir() {
			continue
		}
		err := filepath.WalkDir(r.at(top), func(p string, e fs.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() {
				return err
			}
			i, err := e.Info()
			if err != nil || i.Mode()&special == 0 {
				return err
			}
			return os.Chmod(p, i.Mode()&^special)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// settings are the files of /etc.
func (r runnerRoot) settings() error {
	all := map[string]string{
		"/etc/containers/containers.conf": nestedConf, "/etc/containers/storage.conf": runnerStorage,
		"/etc/machine-id": "", // else all containers of the image were the same machine
	}
	for _, u := range []struct {
		id         int
		name, home string
	}{{NestedUID, NestedUser, NestedHome}, {RunnerUID, RunnerUser, RunnerHome}} {
		id := strconv.Itoa(u.id)
		for p, line := range map[string]string{
			"/etc/passwd": u.name + ":x:" + id + ":" + id + "::" + u.home + ":/bin/sh",
			"/etc/group":  u.name + ":x:" + id + ":",
		} {
			if _, has := all[p]; !has {
				text, err := os.ReadFile(r.at(p))
				if err != nil && !errors.Is(err, fs.ErrNotExist) {
					return err
				}
				all[p] = string(text)
			}
			all[p] = entered(all[p], line)
		}
	}
	ranges, _, err := RunnerRanges("0 0 65540")
	if err != nil {
		return err
	}
	all["/etc/subuid"], all["/etc/subgid"] = ranges, ranges
	if _, err := os.Stat(r.at("/etc/containers/policy.json")); errors.Is(err, fs.ErrNotExist) {
		all["/etc/containers/policy.json"] = `{"default": [{"type": "insecureAcceptAnything"}]}` + "\n"
	}
	for p, text := range all {
		if err := r.write(p, text); err != nil {
			return err
		}
	}
	// The user's own count more: a base may have them.
	return os.RemoveAll(r.at(NestedHome + "/.config/containers"))
}

func (r runnerRoot) write(p, text string) error {
	if err := os.MkdirAll(filepath.Dir(r.at(p)), 0o755); err != nil {
		return err
	}
	if err := os.Remove(r.at(p)); err != nil && !errors.Is(err, fs.ErrNotExist) { // it may be a link
		return err
	}
	return os.WriteFile(r.at(p), []byte(text), 0o644) //nolint:gosec // everybody reads them
}

// directories are those that volumes are mounted at, and homes. The first process makes them again each time, since
// volumes come as they are.
func (r runnerRoot) directories() error {
	for _, d := range []struct {
		path     string
		mode     fs.FileMode
		uid, gid int
	}{
		{NestedHome, 0o755, NestedUID, NestedUID},
		{NestedHome + "/.local", 0o755, NestedUID, NestedUID},
		{NestedHome + "/.local/share", 0o755, NestedUID, NestedUID},
		{NestedStore, 0o700, NestedUID, NestedUID},
		{RunnerHome, 0o755, RunnerUID, RunnerUID},
		{RunnerHome + "/.gitlab-runner", 0o700, RunnerUID, RunnerUID},
		{"/cache", 0o755, NestedUID, NestedUID},
	} {
		p := r.at(d.path)
		if err := os.MkdirAll(p, d.mode); err != nil {
			return err
		}
		if err := errors.Join(os.Chown(p, d.uid, d.gid), os.Chmod(p, d.mode)); err != nil {
			return err
		}
	}
	for p, target := range map[string]string{
		RunnerHome + "/podman.sock":    RunnerSocket, // where pipglr has it, and so configurations of it
		"/usr/local/bin/gitlab-runner": "skerry",     // what people call by its old name, inside
	} {
		if err := os.Remove(r.at(p)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(r.at(p)), 0o755); err != nil {
			return err
		}
		if err := os.Symlink(target, r.at(p)); err != nil {
			return err
		}
	}
	return nil
}
