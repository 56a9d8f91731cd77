package nixd

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"gitlab.com/skerry/skerry/internal/socketfile"
)

// listen makes the socket on which nix-daemon is to accept connections, at path. We keep it over the restarts of
// nix-daemon, so that who connects meanwhile waits instead of being refused. It blocks, as nix-daemon expects.
func listen(path string) (*os.File, error) {
	l, err := socketfile.Listen(path, 0o666) // who reaches it is decided by who mounts the volume
	if err != nil {
		return nil, fmt.Errorf("make the daemon's socket %s: %w", path, err)
	}
	defer func() { _ = l.Close() }() // the file is another descriptor
	f, err := l.File()
	if err == nil {
		err = unix.SetNonblock(int(f.Fd()), false) //nolint:gosec // a descriptor
	}
	if err != nil {
		return nil, fmt.Errorf("make the daemon's socket %s: %w", path, err)
	}
	return f, nil
}

// serve becomes nix-daemon, args[0], which takes over the listening socket, file 3, as from a service manager: its own
// pid has to be in its environment. Source: sd_listen_fds(3).
func serve(args []string) error {
	if len(args) != 1 {
		return errors.New("serve: is started by the daemon's first process alone")
	}
	if err := limitBuilds(); err != nil {
		return err
	}
	// Quiet: without a line for each connection.
	env := append(os.Environ(), "LISTEN_FDS=1", "LISTEN_PID="+strconv.Itoa(os.Getpid()))
	return fmt.Errorf("start %s: %w", args[0], syscall.Exec(args[0], []string{"nix-daemon", "--quiet"}, env)) //nolint:gosec // it is the image's Nix
}

// maxProcesses is how many processes and threads a build may have.
const maxProcesses = 4096

// limitBuilds keeps a build that starts processes without end from taking all that the machine has. The limit counts
// the processes of a user in a user namespace, and the sandbox makes a namespace for each build; the machine's root, who
// is the daemon, has none. Source: getrlimit(2), RLIMIT_NPROC; user_namespaces(7).
func limitBuilds() error {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NPROC, &l); err != nil {
		return fmt.Errorf("limit the processes of builds: %w", err)
	}
	l.Cur, l.Max = min(l.Cur, maxProcesses), min(l.Max, maxProcesses)
	if err := unix.Setrlimit(unix.RLIMIT_NPROC, &l); err != nil {
		return fmt.Errorf("limit the processes of builds: %w", err)
	}
	return nil
}
