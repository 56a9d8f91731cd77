package nixjob

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Home sees to what Nix wants of the home directory of the place's user, whose environment is environ, and returns what is
// to be added to that: where there is no such directory, or one that is not the user's, another one that goes with the
// place, and a name where the user has none. Profiles of a user who is not root lie in the home directory, because the place's
// /nix/var is root's. root is the file system's, "/" but for tests.
func (c Config) Home(root string, environ []string, uid int) ([]string, error) {
	if c.Machine {
		return nil, nil
	}
	var more []string
	if value(environ, "USER") == "" && !named(root, uid) { // Nix goes by one of them
		more = append(more, "USER=uid-"+strconv.Itoa(uid))
	}
	home := value(environ, "HOME")
	if !writable(filepath.Join(root, home)) || home == "" {
		tmp, err := os.MkdirTemp(filepath.Join(root, "tmp"), "home-")
		if err != nil {
			return more, fmt.Errorf("HOME is %q, which is no directory of the user %d, and there is no other: %w", home, uid, err)
		}
		inherit(root, home, tmp)
		home = strings.TrimPrefix(tmp, strings.TrimSuffix(root, "/"))
		more = append(more, "HOME="+home)
	}
	if uid == 0 {
		return more, nil
	}
	return more, errors.Join(linkProfile(root, home), userConf(root, home))
}

// value is that of a variable; the last one counts.
func value(environ []string, key string) string {
	for i := len(environ) - 1; i >= 0; i-- {
		if v, ok := strings.CutPrefix(environ[i], key+"="); ok {
			return v
		}
	}
	return ""
}

// writable reports whether this process can make files in a directory.
func writable(dir string) bool {
	i, err := os.Stat(dir)
	return err == nil && i.IsDir() && unix.Faccessat(unix.AT_FDCWD, dir, unix.W_OK|unix.X_OK, unix.AT_EACCESS) == nil
}

// inherit makes links to what can be read of a home directory that is not the user's, but for "/", which engines say is
// that of users who have none.
func inherit(root, home, dir string) {
	if home == "" || filepath.Clean(home) == "/" {
		return
	}
	entries, _ := os.ReadDir(filepath.Join(root, home)) // what cannot be read is none
	for _, e := range entries {
		_ = os.Symlink(filepath.Join(home, e.Name()), filepath.Join(dir, e.Name())) // there is nothing in dir
	}
}

// linkProfile makes the link to the user's profile, which Nix before 2.14 would make to a place that only root can make.
// Source: nix 2.8 src/libstore/profiles.cc and 2.26 src/libstore/profiles.cc, getDefaultProfile.
func linkProfile(root, home string) error {
	dir := filepath.Join(home, ".local/state/nix/profiles")
	if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
		return passOver(err)
	}
	err := os.Symlink(filepath.Join(dir, "profile"), filepath.Join(root, home, ".nix-profile"))
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return passOver(err)
}

// userConf makes the user's own configuration where there is none of the place.
func userConf(root, home string) error {
	mine := filepath.Join(root, home, ".config/nix/nix.conf")
	for _, path := range []string{filepath.Join(root, confPath), mine} {
		if _, err := os.Stat(path); err == nil {
			return nil
		}
	}
	if err := os.MkdirAll(filepath.Dir(mine), 0o755); err != nil {
		return passOver(err)
	}
	return passOver(os.WriteFile(mine, []byte(conf), 0o644)) //nolint:gosec // it is no secret
}

// person is a user in /etc/passwd.
type person struct {
	name     string
	uid, gid int
}

// named reports whether a user has a name.
func named(root string, uid int) bool {
	for _, p := range people(root) {
		if p.uid == uid {
			return true
		}
	}
	return false
}

// people are the users in /etc/passwd. Source: passwd(5).
func people(root string) []person {
	const maxPasswd = 1 << 20
	path := filepath.Join(root, "etc/passwd")
	if i, err := os.Stat(path); err != nil || !i.Mode().IsRegular() || i.Size() > maxPasswd {
		return nil
	}
	raw, _ := os.ReadFile(path) // nobody has a name, then
	var all []person
	for line := range strings.Lines(string(raw)) {
		f := strings.Split(line, ":")
		if len(f) < 4 || f[0] == "" || strings.ContainsAny(f[0], "/\x00") || f[0][0] == '.' {
			continue
		}
		uid, err := strconv.Atoi(f[2])
		gid, gidErr := strconv.Atoi(f[3])
		if err == nil && gidErr == nil {
			all = append(all, person{f[0], uid, gid})
		}
	}
	return all
}

// The user ids of people, as systems give them. Source: login.defs(5), UID_MIN and UID_MAX.
const (
	firstPerson = 1000
	lastPerson  = 60000
)

// ownDirs makes the directories of people's profiles, in which Nix before 2.14 keeps channels, and profiles of users whom a job becomes
// by su. Only root can.
func ownDirs(root string) error {
	var errs []error
	for _, p := range people(root) {
		if p.uid < firstPerson || p.uid > lastPerson {
			continue
		}
		for _, parent := range []string{"nix/var/nix/profiles/per-user", "nix/var/nix/gcroots/per-user"} {
			dir := filepath.Join(root, parent, p.name)
			if err := os.Mkdir(dir, 0o755); err == nil {
				errs = append(errs, passOver(os.Chown(dir, p.uid, p.gid)))
			}
		}
	}
	return errors.Join(errs...)
}
