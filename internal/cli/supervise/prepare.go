package supervise

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"gitlab.com/skerry/skerry/internal/socketfile"
	"gitlab.com/skerry/skerry/internal/supervisor"
	"gitlab.com/skerry/skerry/internal/systemid"
)

// account is a user of the container.
type account struct {
	name     string
	uid, gid int
	home     string
}

// layout is where everything is.
type layout struct {
	runner, engine account
	runtimeDir     string   // of the engine's user
	locks          string   // of the engine, in memory
	caches         string   // of jobs, if it is there
	sockets        string   // where nothing but the engine's socket is; empty: others choose what is there
	config         string   // as the runner is told
	socket         *os.File // on which Podman is to serve
}

// lookUp finds a user that programs are to run as.
func lookUp(flag, name string) (account, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return account{}, fmt.Errorf("%s %s: %w: the image needs that user, with a home directory; make it with useradd, or name another", flag, name, err)
	}
	a := account{name: name, home: u.HomeDir}
	var err2 error
	a.uid, err = strconv.Atoi(u.Uid)
	a.gid, err2 = strconv.Atoi(u.Gid)
	if err := errors.Join(err, err2); err != nil {
		return a, fmt.Errorf("%s %s: %w", flag, name, err)
	}
	if a.uid == 0 {
		return a, fmt.Errorf("%s %s is root, which it must not be: what a job gets out of would have the whole container", flag, name)
	}
	return a, nil
}

// accounts finds the two users.
func accounts(o options) (runner, engine account, err error) {
	if runner, err = lookUp("--runner-user", o.runnerUser); err != nil {
		return runner, engine, err
	}
	if engine, err = lookUp("--engine-user", o.engineUser); err != nil {
		return runner, engine, err
	}
	if runner.uid == engine.uid {
		return runner, engine, fmt.Errorf("--runner-user and --engine-user must be two users: what containers of jobs can reach, as %s, would include the runner's tokens", engine.name)
	}
	return runner, engine, nil
}

// prepare makes what both programs need before they are started, while everything may still be done. Nothing of an
// earlier life of the container runs any more.
func prepare(o options, config string) (layout, error) {
	l := layout{config: config, caches: cacheDir}
	if o.socket == defaultSocket {
		l.sockets = filepath.Dir(o.socket)
	}
	var err error
	if l.runner, l.engine, err = accounts(o); err != nil {
		return l, err
	}
	l.runtimeDir = filepath.Join("/run/user", strconv.Itoa(l.engine.uid))
	l.locks = "/dev/shm/libpod_rootless_lock_" + strconv.Itoa(l.engine.uid)
	if err := l.prepareEngine(); err != nil {
		return l, fmt.Errorf("prepare the engine: %w", err)
	}
	if err := l.prepareRunner(o.stateDir); err != nil {
		return l, fmt.Errorf("prepare the runner: %w", err)
	}
	if l.socket, err = l.listen(o.socket); err != nil {
		return l, fmt.Errorf("open the engine's socket: %w", err)
	}
	if err := syscall.Setgroups([]int{0, l.runner.gid}); err != nil {
		return l, fmt.Errorf("join the runner's group: %w", err)
	}
	return l, nil
}

// prepareEngine makes the directories of the engine's user. What is in that of run time is of processes that have ended with
// the container: Podman would take them for living ones, by their numbers. So are its locks in memory, which live through a restart of
// the container, and which it would find taken. Jobs that have the engine are its user, and may have left anything in his
// directories: that keeps no container from starting again.
func (l layout) prepareEngine() error {
	all := []string{l.runtimeDir, l.locks}
	if !mounted(l.sockets) { // else it is somebody else's, too
		all = append(all, l.sockets)
	}
	for _, left := range all {
		if err := os.RemoveAll(left); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Dir(l.runtimeDir), 0o755); err != nil {
		return err
	}
	if err := own(l.runtimeDir, l.engine); err != nil {
		return err
	}
	at := l.engine.home
	if err := l.reclaim(at); err != nil {
		return err
	}
	for _, name := range []string{".local", "share", "containers"} {
		at = filepath.Join(at, name)
		if err := l.reclaim(at); err != nil {
			return err
		}
	}
	if i, err := os.Lstat(l.caches); err == nil && i.IsDir() { // else the container has no such volume
		return l.reclaim(l.caches)
	}
	return nil
}

// mounted reports whether a directory is another file system than the one that it is in.
func mounted(dir string) bool {
	var here, above unix.Stat_t
	return unix.Lstat(dir, &here) == nil && unix.Lstat(filepath.Dir(dir), &above) == nil && here.Dev != above.Dev
}

// reclaim makes a directory of the engine's user, or gives him the one that is there whatever jobs have made of it: root of a
// job is that user, and what root gives to others of the job is of his subordinate ids. What is no directory makes way for one.
// Only root and the engine's user may be able to write to the directory that it is in.
func (l layout) reclaim(dir string) error {
	i, err := os.Lstat(dir)
	if err == nil && !i.IsDir() {
		if err := os.Remove(dir); err != nil {
			return err
		}
		i, err = nil, fs.ErrNotExist
	}
	if errors.Is(err, fs.ErrNotExist) {
		return own(dir, l.engine)
	}
	if err != nil {
		return err
	}
	owner, _ := i.Sys().(*syscall.Stat_t)
	if owner == nil || owner.Uid == 0 || int(owner.Uid) == l.runner.uid {
		return own(dir, l.engine) // a new volume, or one of something else
	}
	if int(owner.Uid) != l.engine.uid {
		if err := os.Lchown(dir, l.engine.uid, l.engine.gid); err != nil {
			return err
		}
	}
	const mode = 0o700
	if i.Mode()&mode == mode {
		return nil
	}
	return os.Chmod(dir, i.Mode()|mode)
}

// cacheDir is where the image has a volume for caches of jobs, whose root is the engine's user.
const cacheDir = "/cache"

// prepareRunner makes the directories of the runner's user, and has nobody else read its configuration.
func (l *layout) prepareRunner(state string) error {
	if err := own(l.runner.home, l.runner); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(state), 0o755); err != nil {
		return err
	}
	if err := above(state, l.runner); err != nil {
		return err
	}
	if err := own(state, l.runner); err != nil {
		return err
	}
	if err := guard(l.config, l.runner, l.engine); err != nil {
		return err
	}
	return l.link(state)
}

// above says that somebody else could put something of his in the place of the runner's directory, or that the runner cannot even
// come to it, as beneath the home directory of the engine's user.
func above(dir string, who account) error {
	for at := filepath.Dir(dir); ; at = filepath.Dir(at) {
		i, err := os.Lstat(at)
		if err != nil {
			return err
		}
		owner, _ := i.Sys().(*syscall.Stat_t)
		mine := owner != nil && (owner.Uid == 0 || int(owner.Uid) == who.uid)
		if !mine || !i.IsDir() || i.Mode().Perm()&0o022 != 0 && i.Mode()&fs.ModeSticky == 0 {
			return fmt.Errorf("the state directory %s cannot be in %s, where others than root and %s could put another in its place: use a volume of its own, as with --volume skerry-state:%s",
				dir, at, who.name, defaultState)
		}
		if at == filepath.Dir(at) {
			break
		}
	}
	return supervisor.Seen(who.uid, who.gid, func() error {
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrPermission) {
			return fmt.Errorf("%s cannot come to the state directory: %w: use a volume of its own, as with --volume skerry-state:%s", who.name, err, defaultState)
		}
		return nil
	})
}

// own makes a directory that only its owner enters, or gives him the one that is there and is root's: a new volume.
func own(dir string, who account) error {
	const mode = 0o700
	err := os.Mkdir(dir, mode)
	made := err == nil
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	i, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if !i.IsDir() {
		return &fs.PathError{Op: "use", Path: dir, Err: syscall.ENOTDIR}
	}
	owner, _ := i.Sys().(*syscall.Stat_t)
	if owner != nil && int(owner.Uid) == who.uid {
		return nil
	}
	if owner != nil && owner.Uid != 0 {
		return fmt.Errorf("%s is of uid %d and has to be of %s (%d): give it to that user (chown -R), or remove the volume to have a new one", dir, owner.Uid, who.name, who.uid)
	}
	if err := os.Lchown(dir, who.uid, who.gid); err != nil {
		return err
	}
	if made {
		return nil
	}
	return os.Chmod(dir, mode)
}

// link has the runner find its configuration by a name in its state directory, which survives the container: it keeps who it is
// towards GitLab (.runner_system_id) beside the configuration, whose directory may be the container's. Who it already is stays.
func (l *layout) link(state string) error {
	dir := filepath.Dir(l.config)
	i, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
			return err
		}
		if err := own(dir, l.runner); err != nil {
			return err
		}
		i, err = os.Stat(dir)
	}
	if err != nil {
		return err
	}
	if owner, _ := i.Sys().(*syscall.Stat_t); owner != nil && int(owner.Uid) == l.runner.uid && known(dir) && !known(filepath.Join(state, "config")) {
		return nil
	}
	beside := filepath.Join(state, "config")
	if err := own(beside, l.runner); err != nil {
		return err
	}
	name := filepath.Join(beside, filepath.Base(l.config))
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(l.config, name); err != nil {
		return err
	}
	l.config = name
	return nil
}

// listen opens the socket that Podman is given. It is there, and takes connections that wait, while Podman is started again. Whoever
// comes to it may use it, as users of jobs that it is mounted for have to; in its directory come the runner, Podman, who mounts
// it, and this process, as one of the runner's group.
func (l layout) listen(path string) (*os.File, error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return nil, err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	there, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range there {
		if name := e.Name(); name != filepath.Base(path) && name != filepath.Base(path)+".new" {
			return nil, fmt.Errorf("%s has to be in a directory of its own, and %s is beside it: name another with --socket", path, filepath.Join(dir, name))
		}
	}
	s, err := socketfile.Listen(path, 0o666)
	if err != nil {
		return nil, err
	}
	defer func() { _ = s.Close() }() // File's is another descriptor
	if err := errors.Join(os.Lchown(dir, l.engine.uid, l.runner.gid), os.Chmod(dir, 0o510)); err != nil {
		return nil, err
	}
	return s.File()
}

// known reports whether a runner's identity is in a directory.
func known(dir string) bool {
	_, err := os.Lstat(filepath.Join(dir, systemid.File))
	return err == nil
}
