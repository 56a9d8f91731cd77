package engineapi

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const schemeUnix = "unix"

// maxPath is the longest path of a socket (unix(7)).
const maxPath = 107

// check refuses addresses that cannot be used, with what can be done instead.
func (a Address) check() error {
	scheme, rest, ok := strings.Cut(a.Host, "://")
	if !ok {
		return fmt.Errorf("the engine's address %q has no scheme: write it as unix:///run/podman/podman.sock or tcp://HOST:PORT", a.Host)
	}
	switch scheme {
	case schemeUnix:
		if !strings.HasPrefix(rest, "/") {
			return fmt.Errorf("the engine's address %q must name an absolute path: unix:///run/podman/podman.sock", a.Host)
		}
		if len(rest) > maxPath {
			return fmt.Errorf("the engine's address %q cannot be used: the path has %d bytes, and the kernel allows %d for a socket: use a shorter one "+
				"or, for the Podman that the runner starts itself, a shorter state_dir", a.Host, len(rest), maxPath)
		}
	case "tcp", "http", "https":
		u, err := url.Parse(a.Host)
		if err != nil || u.Hostname() == "" {
			return fmt.Errorf("the engine's address %q names no host: write it as tcp://HOST:PORT", a.Host)
		}
	case "ssh":
		return fmt.Errorf("the engine's address %q is of a kind that is not supported: forward the engine's socket, for example with `ssh -nNT -L /run/skerry/engine.sock:/run/podman/podman.sock %s`, "+
			"and set `host` to unix:///run/skerry/engine.sock", a.Host, strings.TrimSuffix(rest, "/"))
	default:
		return fmt.Errorf("the engine's address %q is of a kind that is not supported: unix and tcp are", a.Host)
	}
	return nil
}

// ErrNone says that no engine was configured, and that there is none that could be found.
var ErrNone = errors.New("no container engine was found")

// Finder finds the engine of runner entries that name none.
type Finder struct {
	Getenv func(string) string
	Root   string // beneath which sockets are looked for; empty: "/"
	UID    int    // whose sockets come first
}

// Find completes an address: what the configuration says, else the environment's DOCKER_HOST or
// CONTAINER_HOST, else the context that the docker command has been told to use, else the first socket that
// accepts a connection: this user's Podman, the machine's Podman, this user's Docker, the machine's Docker. When
// none does, it is the first that is there. ErrNone is wrapped when there is none at all.
func (f Finder) Find(ctx context.Context, a Address) (Address, error) {
	if a.Host == "" {
		a.Host = f.Getenv("DOCKER_HOST")
		if a.Host != "" && a.CertPath == "" {
			a.CertPath, a.Verify = f.Getenv("DOCKER_CERT_PATH"), a.Verify || f.Getenv("DOCKER_TLS_VERIFY") != ""
		}
	}
	if a.Host == "" {
		a.Host = f.Getenv("CONTAINER_HOST")
	}
	if a.Host == "" {
		c, err := f.dockerContext()
		if err != nil {
			return a, err
		}
		if c.Host != "" {
			a = c
		}
	}
	if a.Host != "" {
		return a, a.check()
	}
	return f.socket(ctx, a)
}

// socket looks for one that somebody listens on.
func (f Finder) socket(ctx context.Context, a Address) (Address, error) {
	paths := f.paths()
	there := ""
	var denied error
	for _, path := range paths {
		i, err := os.Stat(path)
		if err != nil || i.Mode().Type() != os.ModeSocket {
			continue
		}
		host := "unix://" + path
		switch err := listens(ctx, path); {
		case err == nil:
			a.Host = host
			return a, nil
		case errors.Is(err, fs.ErrPermission):
			if denied == nil {
				denied = unreachable(Address{Host: host}, err)
			}
		case there == "":
			there = host
		}
	}
	switch {
	case there != "": // it is down just now
		a.Host = there
		return a, nil
	case denied != nil:
		return a, fmt.Errorf("%w that this user may connect to: %w", ErrNone, denied)
	}
	return a, fmt.Errorf("%w (looked for %s): %s", ErrNone, strings.Join(paths, ", "), howToStart)
}

// paths are where engines have their sockets, the preferred first.
func (f Finder) paths() []string {
	run := f.Getenv("XDG_RUNTIME_DIR")
	if f.UID != 0 && run == "" {
		run = filepath.Join(f.Root, "/run/user", strconv.Itoa(f.UID))
	}
	var paths []string
	if f.UID != 0 {
		paths = append(paths, filepath.Join(run, "podman/podman.sock"))
	}
	paths = append(paths, filepath.Join(f.Root, "/run/podman/podman.sock"))
	if f.UID != 0 {
		paths = append(paths, filepath.Join(run, "docker.sock"))
	}
	return append(paths, filepath.Join(f.Root, "/run/docker.sock"), filepath.Join(f.Root, "/var/run/docker.sock"))
}

func listens(ctx context.Context, path string) error {
	d := net.Dialer{Timeout: time.Second}
	conn, err := d.DialContext(ctx, schemeUnix, path)
	if err != nil {
		return err
	}
	return conn.Close()
}
