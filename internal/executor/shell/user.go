package shell

import (
	"fmt"
	"os"
	"os/user"
	"strconv"
	"strings"
	"syscall"
)

// account is whom an agent runs as.
type account struct {
	uid, gid int
	groups   []uint32
	env      []string
	other    bool // not the runner's own user
}

// lookup finds the account of the user name; an empty name is the runner's own user.
func lookup(name string) (account, error) {
	a := account{uid: os.Getuid(), gid: os.Getgid(), env: environ()}
	if name == "" {
		return a, nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return a, fmt.Errorf("find the user %q that jobs are to run as: %w", name, err)
	}
	if a.uid, err = strconv.Atoi(u.Uid); err != nil {
		return a, fmt.Errorf("user id of %q: %w", name, err)
	}
	if a.gid, err = strconv.Atoi(u.Gid); err != nil {
		return a, fmt.Errorf("group id of %q: %w", name, err)
	}
	ids, err := u.GroupIds()
	if err != nil {
		return a, fmt.Errorf("groups of %q: %w", name, err)
	}
	for _, id := range ids {
		if n, err := strconv.ParseUint(id, 10, 32); err == nil {
			a.groups = append(a.groups, uint32(n))
		}
	}
	a.other = a.uid != os.Getuid()
	a.env = append(without(a.env, "HOME", "USER", "LOGNAME"), "HOME="+u.HomeDir, "USER="+u.Username, "LOGNAME="+u.Username)
	return a, nil
}

// credential is what a process of the account is started with; nil when it is the runner's own.
func (a account) credential() *syscall.Credential {
	if !a.other {
		return nil
	}
	return &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid), Groups: a.groups}
}

// environ is the runner's environment without what is the runner's own affair: tokens, and what
// systemd tells a service about itself.
func environ() []string {
	var out []string
	for _, e := range os.Environ() {
		key, _, _ := strings.Cut(e, "=")
		switch {
		case strings.HasSuffix(key, "_TOKEN"), strings.HasPrefix(key, "CI_SERVER_"), strings.HasPrefix(key, "SKERRY_"):
		case key == "NOTIFY_SOCKET", key == "WATCHDOG_USEC", key == "WATCHDOG_PID", key == "INVOCATION_ID",
			key == "JOURNAL_STREAM", key == "LISTEN_FDS", key == "LISTEN_PID", key == "LISTEN_FDNAMES",
			key == "CREDENTIALS_DIRECTORY", key == "SYSTEMD_EXEC_PID", key == "MAINPID":
		default:
			out = append(out, e)
		}
	}
	return out
}

func without(env []string, keys ...string) []string {
	var out []string
next:
	for _, e := range env {
		for _, k := range keys {
			if strings.HasPrefix(e, k+"=") {
				continue next
			}
		}
		out = append(out, e)
	}
	return out
}
