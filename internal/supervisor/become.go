package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Command is a program to start.
type Command struct {
	Path string   // absolute, or looked for in PATH of Env
	Args []string // without the program's own name
	Env  []string
	Dir  string // empty: this process's; entered with the rights of As
	// As is whom it runs as, and with what; nil: as this process.
	As *Identity
	// Listens has the program given its descriptor 3 as a socket that it serves, as systemd would (sd_listen_fds(3)).
	Listens bool
	// Entrance are the first arguments of this very program by which its main comes to Become.
	Entrance []string
}

// Identity is who a program is and what it may do.
type Identity struct {
	UID, GID int
	Groups   []int // besides GID
	// Bounding are the capabilities that the program and what it starts can ever get, from file capabilities.
	Bounding []int
	// NoNewPrivileges keeps it and what it starts from getting rights by setuid programs and file capabilities.
	NoNewPrivileges bool
}

// become is what Become is told.
type become struct {
	Path     string
	Args     []string
	Dir      string    `json:",omitempty"`
	Identity *Identity `json:",omitempty"`
	Listens  bool      `json:",omitempty"`
}

// arguments are those of this program for a command.
func (c Command) arguments() ([]string, error) {
	b, err := json.Marshal(become{Path: c.Path, Args: c.Args, Dir: c.Dir, Identity: c.As, Listens: c.Listens})
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Path, err)
	}
	return append(append([]string{"skerry"}, c.Entrance...), string(b)), nil
}

// exitNotRun is how a process ends that could not become its program, as shells have it.
const exitNotRun = 127

// Become replaces this process, which Reaper.Start has made, by the program that it is to be. It returns only when
// that could not be done: with the code to exit with and why.
func Become(spec string) (code int, err error) {
	var b become
	if err := json.Unmarshal([]byte(spec), &b); err != nil {
		return exitNotRun, fmt.Errorf("what to become cannot be read: %w", err)
	}
	runtime.LockOSThread() // whose rights are those of the program
	if b.Identity != nil {
		if err := b.Identity.assume(); err != nil {
			return exitNotRun, fmt.Errorf("become uid %d for %s: %w", b.Identity.UID, b.Path, err)
		}
	}
	if b.Dir != "" {
		if err := os.Chdir(b.Dir); err != nil {
			return exitNotRun, fmt.Errorf("begin where %s is to: %w", b.Path, err)
		}
	}
	path, err := exec.LookPath(b.Path)
	if err != nil {
		return exitNotRun, fmt.Errorf("find the program: %w", err)
	}
	env := os.Environ()
	if b.Listens { // names the process that the socket is for, so who starts it cannot
		env = append(env, "LISTEN_FDS=1", "LISTEN_PID="+strconv.Itoa(os.Getpid()))
	}
	if err := syscall.Exec(path, append([]string{b.Path}, b.Args...), env); err != nil {
		return exitNotRun, fmt.Errorf("run %s: %w", path, err)
	}
	return 0, nil
}

// assume gives the present thread the identity. Raw calls: those of package syscall are for all threads.
func (i *Identity) assume() error {
	if err := limitBounding(i.Bounding, func(capability int) error {
		return unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(capability), 0, 0, 0) //nolint:gosec // small
	}); err != nil {
		return fmt.Errorf("drop capabilities: %w", err)
	}
	if err := clearAmbient(); err != nil {
		return err
	}
	groups := make([]uint32, 0, len(i.Groups)+1)
	for _, g := range append([]int{i.GID}, i.Groups...) {
		groups = append(groups, uint32(g)) //nolint:gosec // an id
	}
	if err := setIDs(i.UID, i.GID, groups); err != nil {
		return err
	}
	if i.UID != 0 {
		if err := dropAll(); err != nil {
			return fmt.Errorf("drop capabilities: %w", err)
		}
	}
	if i.NoNewPrivileges {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return fmt.Errorf("set no_new_privs: %w", err)
		}
	}
	return nil
}

// limitBounding has drop called for every capability that the kernel knows and that is not in keep.
func limitBounding(keep []int, drop func(int) error) error {
	kept := map[int]bool{}
	for _, c := range keep {
		kept[c] = true
	}
	for c := 0; ; c++ {
		has, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(c), 0, 0, 0) //nolint:gosec // small
		if errors.Is(err, unix.EINVAL) {
			return nil // the one before was the last
		}
		if err != nil {
			return err
		}
		if has == 0 || kept[c] {
			continue
		}
		if err := drop(c); err != nil {
			return err
		}
	}
}

// clearAmbient takes what a program would get without being entitled to it.
func clearAmbient() error {
	err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
	if err != nil {
		return fmt.Errorf("clear ambient capabilities: %w", err)
	}
	return nil
}

// dropAll drops all capabilities of the present thread, the inheritable ones too.
func dropAll() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	return unix.Capset(&header, &none[0])
}

// EnvironmentOf returns env with variables replaced or added: those of set, "KEY=VALUE" each, and without those
// whose key is in without.
func EnvironmentOf(env, set []string, without ...string) []string {
	gone := map[string]bool{}
	for _, k := range without {
		gone[k] = true
	}
	for _, v := range set {
		key, _, _ := strings.Cut(v, "=")
		gone[key] = true
	}
	var out []string
	for _, v := range env {
		if key, _, _ := strings.Cut(v, "="); !gone[key] {
			out = append(out, v)
		}
	}
	return append(out, set...)
}
