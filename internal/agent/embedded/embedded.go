// Package embedded finds the agent's program and installs it where executors can use it.
//
// `make build` puts one agent for each architecture of kernels into bin/, and skerry embeds them. A
// skerry built with plain `go build` has none: then a file beside its executable is taken, or the one that
// SKERRY_AGENT names.
package embedded

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
)

//go:embed all:bin
var bin embed.FS

// Variable is the environment variable that names an agent's program.
const Variable = "SKERRY_AGENT"

// Agent is the agent's program for one architecture.
type Agent struct {
	Arch   string // GOARCH
	Source string // where it was found, for messages
	SHA256 string // hex
	Size   int64
	open   func() (io.ReadCloser, error)
}

// Open reads the program. The caller closes it.
func (a *Agent) Open() (io.ReadCloser, error) { return a.open() }

// Find returns the agent for kernels of an architecture ("amd64", "arm64"). When there is none the
// error says where it was looked for and what to do.
func Find(arch string) (*Agent, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find skerry's own executable: %w", err)
	}
	return find(bin, arch, filepath.Dir(exe), os.Getenv(Variable))
}

func find(embedded fs.FS, arch, beside, named string) (*Agent, error) {
	name := "skerry-agent-linux-" + arch
	a, err := load(arch, "the skerry executable", func() (io.ReadCloser, error) { return embedded.Open("bin/" + name) })
	if !errors.Is(err, fs.ErrNotExist) {
		return a, err
	}
	paths := []string{filepath.Join(beside, name)}
	if arch == runtime.GOARCH {
		paths = append(paths, filepath.Join(beside, "skerry-agent"))
		if named != "" {
			paths = append(paths, named)
		}
	}
	for _, path := range paths {
		a, err := load(arch, path, func() (io.ReadCloser, error) { return os.Open(path) })
		if !errors.Is(err, fs.ErrNotExist) {
			return a, err
		}
	}
	return nil, fmt.Errorf("there is no agent for linux/%s in this skerry, nor %v, nor in the environment variable %s: "+
		"use a released skerry, build with `make build`, or put skerry-agent beside skerry", arch, paths, Variable)
}

func load(arch, source string, open func() (io.ReadCloser, error)) (*Agent, error) {
	r, err := open()
	if err != nil {
		return nil, fmt.Errorf("open the agent's program: %w", err)
	}
	defer r.Close()
	h := sha256.New()
	n, err := io.Copy(h, r)
	if err != nil {
		return nil, fmt.Errorf("read the agent's program from %s: %w", source, err)
	}
	return &Agent{Arch: arch, Source: source, SHA256: hex.EncodeToString(h.Sum(nil)), Size: n, open: open}, nil
}

// Install copies this machine's agent to DIR/agents/HASH/agent, unless it is there, and returns the path.
func Install(dir string) (string, error) {
	a, err := Find(runtime.GOARCH)
	if err != nil {
		return "", err
	}
	defer release()
	return a.Install(dir)
}

// Install copies the program to DIR/agents/HASH/agent with mode 0755, unless it is there, and
// returns the path. The last directory, which places have, is open to every user, whatever the umask. HASH is the beginning of its SHA-256, so that a running job's agent is never
// replaced. It may be called by several processes at once.
func (a *Agent) Install(dir string) (string, error) {
	home := filepath.Join(dir, "agents", a.SHA256[:12])
	path := filepath.Join(home, "agent")
	err := os.MkdirAll(home, 0o755)
	if err == nil {
		err = openDir(home)
	}
	if err != nil {
		return "", fmt.Errorf("install the agent: %w", err)
	}
	if a.installed(path) {
		return path, nil
	}
	r, err := a.open()
	if err != nil {
		return "", fmt.Errorf("install the agent: %w", err)
	}
	defer r.Close()
	return path, write(path, r)
}

// openDir lets every user who can reach a directory enter it.
func openDir(dir string) error {
	i, err := os.Stat(dir)
	if err != nil || i.Mode().Perm()&0o005 == 0o005 { // perhaps one of somebody else's, or one that cannot be changed
		return err
	}
	return os.Chmod(dir, 0o755)
}

// installed reports whether path is this program: a machine that lost power may have left a file of the
// right size and of nothing but zeros.
func (a *Agent) installed(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	if i, err := f.Stat(); err != nil || !i.Mode().IsRegular() || i.Size() != a.Size || i.Mode().Perm() != 0o755 {
		return false
	}
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return false
	}
	return hex.EncodeToString(h.Sum(nil)) == a.SHA256
}

// Prune removes the agents that have been installed in DIR/agents but for those whose directories used names.
func Prune(dir string, used []string) error {
	entries, err := os.ReadDir(filepath.Join(dir, "agents"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list the installed agents: %w", err)
	}
	var errs []error
	for _, e := range entries {
		home := filepath.Join(dir, "agents", e.Name())
		if raw, err := hex.DecodeString(e.Name()); err != nil || len(raw) != 6 || !e.IsDir() || slices.Contains(used, home) {
			continue
		}
		errs = append(errs, os.RemoveAll(home))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove an agent that is not used any more: %w", err)
	}
	return nil
}

// Place puts an installed agent into the directory of one environment, as DIR/agent, and returns the
// path. It links hard: the agent finds its state beside its executable and the kernel resolves
// symbolic links. Across file systems it copies.
func Place(installed, dir string) (string, error) {
	path := filepath.Join(dir, "agent")
	err := os.Link(installed, path)
	if err == nil || errors.Is(err, fs.ErrExist) {
		return path, nil
	}
	r, err := os.Open(installed)
	if err != nil {
		return "", fmt.Errorf("place the agent: %w", err)
	}
	defer r.Close()
	return path, write(path, r)
}

// write makes an executable file by rename. No process is forked meanwhile: its child would hold the
// file open for writing, and executing it would fail with ETXTBSY.
func write(path string, r io.Reader) (err error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	f, err := os.CreateTemp(filepath.Dir(path), ".agent-*")
	if err != nil {
		return fmt.Errorf("write the agent: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	_, err = io.Copy(f, r)
	if err = errors.Join(err, f.Chmod(0o755), f.Close()); err != nil {
		return fmt.Errorf("write the agent: %w", err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("write the agent: %w", err)
	}
	return nil
}
