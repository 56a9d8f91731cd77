// Package nixjob makes a job's place ready for Nix: what a container of an image that knows nothing of a daemon
// elsewhere lacks. It runs in the build place's agent before that answers, as the job's user, and touches nothing that
// is there already.
package nixjob

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Config is what the place is told.
type Config struct {
	// Remote is the value of NIX_REMOTE: "daemon" where the gateway's socket is at the usual place.
	Remote string `json:"remote"`
	// Socket is the value of NIX_DAEMON_SOCKET_PATH, where the gateway's socket is elsewhere; it is where a client that is told
	// "daemon" connects.
	Socket string `json:"socket,omitempty"`
	// Machine says that the place is the machine itself: nothing is made there, and what its environment says of a daemon
	// does not count.
	Machine bool `json:"machine,omitempty"`
	// Tools is the directory of Nix's programs in the store, Certs a file with certificates there; empty: none.
	Tools string `json:"tools,omitempty"`
	Certs string `json:"certs,omitempty"`
	// Path puts Tools before what is in PATH.
	Path bool `json:"path,omitempty"`
}

// Where Nix looks for certificates unless it is told. Source: nix src/libstore/globals.cc, getDefaultSSLCertFile.
func certificates() []string {
	return []string{"/etc/ssl/certs/ca-certificates.crt", "/nix/var/nix/profiles/default/etc/ssl/certs/ca-bundle.crt"}
}

// confPath is Nix's configuration, and conf what it is where there is none.
const (
	confPath = "/etc/nix/nix.conf"
	conf     = "# Made by Skerry for this job; yours to change.\nexperimental-features = nix-command flakes\n"
)

// directories are what Nix expects beside the store, and programs of the user's make things in.
// Source: nix src/libstore/local-store.cc and scripts/nix-profile-daemon.sh.in.
func directories() []directory {
	const open = 0o777 | fs.ModeSticky
	return []directory{
		{"/nix/var/log/nix/drvs", 0o755},
		{"/nix/var/nix/profiles/per-user", open},
		{"/nix/var/nix/gcroots/per-user", open},
		{"/nix/var/nix/temproots", 0o755},
		{"/nix/var/nix/userpool", 0o755},
		{"/tmp", open},
	}
}

type directory struct {
	path string
	mode fs.FileMode
}

// Environ returns what c adds to an environment: variables that are set stay, PATH is led by Nix, and what the job installs by it, where that was asked.
// root is the file system's, "/" but for tests.
func (c Config) Environ(root string, environ []string) []string {
	set := func(key string) bool {
		return slices.ContainsFunc(environ, func(e string) bool { return strings.HasPrefix(e, key+"=") })
	}
	var more []string
	if c.Remote != "" && (c.Machine || !set("NIX_REMOTE")) {
		more = append(more, "NIX_REMOTE="+c.Remote)
	}
	if c.Socket != "" && (c.Machine || !set("NIX_DAEMON_SOCKET_PATH")) {
		more = append(more, "NIX_DAEMON_SOCKET_PATH="+c.Socket)
	}
	if c.Certs != "" && !set("NIX_SSL_CERT_FILE") && !set("SSL_CERT_FILE") && !slices.ContainsFunc(certificates(), func(p string) bool {
		_, err := os.Stat(filepath.Join(root, p))
		return err == nil
	}) {
		more = append(more, "NIX_SSL_CERT_FILE="+c.Certs)
	}
	if c.Path && c.Tools != "" {
		path := cmp.Or(value(environ, "PATH"), usualPath)
		if home := value(environ, "HOME"); home != "" { // what the job installs into its profile is found
			path = filepath.Join(home, ".nix-profile/bin") + ":" + path
		}
		more = append(more, "PATH="+c.Tools+":"+path)
	}
	return more
}

// usualPath is that of a place whose image sets none.
const usualPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Prepare makes what is missing beneath root ("/" but for tests). What the place's user may not make is left out: it is
// made by others, or not needed by that user; the error is for the operator's log.
func (c Config) Prepare(root string) error {
	if c.Machine {
		return nil
	}
	var errs []error
	for _, d := range directories() {
		errs = append(errs, makeDir(filepath.Join(root, d.path), d.mode))
	}
	if os.Geteuid() == 0 {
		errs = append(errs, ownDirs(root))
	}
	errs = append(errs, ownConf(filepath.Join(root, confPath)))
	return errors.Join(errs...)
}

func makeDir(path string, mode fs.FileMode) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	if err := os.MkdirAll(path, 0o755); err != nil {
		return passOver(err)
	}
	return passOver(os.Chmod(path, mode))
}

// passOver leaves errors out that follow from who the user is.
func passOver(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return nil
	}
	return err
}

// ownConf sees to a configuration that the job may change: one that is a link into the store becomes a file of its own.
func ownConf(path string) error {
	i, err := os.Lstat(path)
	text := []byte(conf)
	switch {
	case err == nil && i.Mode()&fs.ModeSymlink == 0:
		return nil
	case err == nil:
		if raw, err := os.ReadFile(path); err == nil {
			text = raw
		}
	case !errors.Is(err, fs.ErrNotExist):
		return passOver(err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return passOver(err)
	}
	mine := path + ".skerry"
	err = os.WriteFile(mine, text, 0o644) //nolint:gosec // every user's Nix reads it
	if err == nil {
		err = os.Rename(mine, path)
	}
	if err != nil {
		_ = os.Remove(mine)
		return passOver(fmt.Errorf("make the job's own %s: %w", confPath, err))
	}
	return nil
}
