package nixd

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"gitlab.com/skerry/skerry/internal/nixstore/nixd/volumes"
)

const (
	buildGroup = "nixbld"
	buildUsers = 32    // builds at once
	firstID    = 30000 // of group and users, as Nix's own installer has it
	otherID    = 2000  // where the container has no such ids
)

// accounts is the content of /etc/passwd and /etc/group.
type accounts struct{ passwd, group []string }

// makeUsers gives the container Nix's build users, and keeps all that is there. It returns how many there are: none
// where the container has no ids for them, as with a rootless engine without subordinate ids.
func makeUsers(l volumes.Layout) (int, error) {
	uids, err := readIDs(l.Root + "/proc/self/uid_map")
	if err != nil {
		return 0, err
	}
	gids, err := readIDs(l.Root + "/proc/self/gid_map")
	if err != nil {
		return 0, err
	}
	var a accounts
	if a.passwd, err = readLines(l.Etc() + "/passwd"); err != nil {
		return 0, err
	}
	if a.group, err = readLines(l.Etc() + "/group"); err != nil {
		return 0, err
	}
	n := a.addBuildUsers(uids, gids)
	if n == 0 {
		return 0, nil
	}
	if err := os.MkdirAll(l.Etc(), 0o755); err != nil {
		return 0, err
	}
	if err := volumes.Write(l.Etc()+"/passwd", 0o644, []byte(strings.Join(a.passwd, "\n")+"\n")); err != nil {
		return 0, fmt.Errorf("add Nix's build users: %w", err)
	}
	if err := volumes.Write(l.Etc()+"/group", 0o644, []byte(strings.Join(a.group, "\n")+"\n")); err != nil {
		return 0, fmt.Errorf("add Nix's build users: %w", err)
	}
	return n, nil
}

// addBuildUsers completes group and users and returns the number of users that are members of the group.
func (a *accounts) addBuildUsers(uids, gids ids) int {
	at := slices.IndexFunc(a.group, func(line string) bool { return strings.HasPrefix(line, buildGroup+":") })
	var gid string
	var members []string
	if at >= 0 {
		f := strings.SplitN(a.group[at]+":::", ":", 4)
		gid = f[2]
		members = strings.FieldsFunc(f[3], func(r rune) bool { return r == ',' || r == ':' })
	} else {
		at = len(a.group)
		a.group = append(a.group, "")
	}
	if _, err := strconv.Atoi(gid); err != nil {
		id, ok := gids.free(firstID, used(a.group))
		if !ok {
			return 0
		}
		gid = strconv.Itoa(id)
	}
	if len(a.passwd) == 0 { // a scratch image: Nix asks for the name of root
		a.passwd = append(a.passwd, "root:x:0:0::/root:/bin/sh")
	}
	for i := 1; i <= buildUsers; i++ {
		name := buildGroup + strconv.Itoa(i)
		if !slices.ContainsFunc(a.passwd, func(line string) bool { return strings.HasPrefix(line, name+":") }) {
			id, ok := uids.free(firstID+i, used(a.passwd))
			if !ok {
				break
			}
			a.passwd = append(a.passwd, fmt.Sprintf("%s:x:%d:%s:Nix build user %d:/var/empty:/sbin/nologin", name, id, gid, i))
		}
		if !slices.Contains(members, name) {
			members = append(members, name)
		}
	}
	a.group[at] = fmt.Sprintf("%s:x:%s:%s", buildGroup, gid, strings.Join(members, ","))
	return len(members)
}

// used are the ids in the third field of lines.
func used(lines []string) map[int]bool {
	u := map[int]bool{}
	for _, line := range lines {
		if f := strings.Split(line, ":"); len(f) > 2 {
			if id, err := strconv.Atoi(f[2]); err == nil {
				u[id] = true
			}
		}
	}
	return u
}

// ids are the ranges of ids, first and number, that a user namespace has.
type ids [][2]int

// free returns an unused id at or after first, or else after otherID.
func (r ids) free(first int, used map[int]bool) (int, bool) {
	for _, from := range []int{first, otherID} {
		for id := from; id < from+1000; id++ {
			if !used[id] && slices.ContainsFunc(r, func(m [2]int) bool { return id >= m[0] && id-m[0] < m[1] }) {
				return id, true
			}
		}
	}
	return 0, false
}

// readIDs reads a map of ids; see user_namespaces(7).
func readIDs(path string) (ids, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return ids{{0, 1 << 31}}, nil // a kernel without user namespaces
	}
	if err != nil {
		return nil, err
	}
	var r ids
	for line := range strings.Lines(string(raw)) {
		var inside, outside, n int64
		if _, err := fmt.Sscan(line, &inside, &outside, &n); err != nil {
			return nil, fmt.Errorf("%s: %q: %w", path, line, err)
		}
		r = append(r, [2]int{int(inside), int(n)})
	}
	return r, nil
}

// readLines reads a file's lines that are not empty; a file that is not there, or a link to nowhere, has none.
func readLines(path string) ([]string, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var lines []string
	s := bufio.NewScanner(f)
	for s.Scan() {
		if s.Text() != "" {
			lines = append(lines, s.Text())
		}
	}
	return lines, s.Err()
}
