// Package agenttest builds the real agent for tests. Production code does not import it.
package agenttest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// build is memoised: the program does not change while a test binary runs.
var build = sync.OnceValues(func() (string, error) { return buildAgent(Race) }) //nolint:gochecknoglobals // see above

// Build returns the path of cmd/skerry-agent, built from the work tree as it is. The file is shared
// by all tests of the machine: link it (embedded.Place) or execute it, do not change it.
func Build(t testing.TB) string {
	t.Helper()
	path, err := build()
	if err != nil {
		t.Fatalf("build the agent: %v", err)
	}
	return path
}

// buildStatic is memoised, too.
var buildStatic = sync.OnceValues(func() (string, error) { return buildAgent(false) }) //nolint:gochecknoglobals // see above

// Static is Build without the race detector, whose programs need a C library that images may not have.
func Static(t testing.TB) string {
	t.Helper()
	path, err := buildStatic()
	if err != nil {
		t.Fatalf("build the agent: %v", err)
	}
	return path
}

// buildAgent builds into a place of its own, where go finds that nothing has changed, and keeps a
// copy by content, so that nobody executes a file that somebody else is writing.
func buildAgent(race bool) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	dir := filepath.Join(cache, "skerry-agenttest")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return "", err
	}
	out := filepath.Join(dir, "building")
	// As make build does, or go test under the detector, so that what that has compiled is used again.
	args, cgo := []string{"build", "-buildvcs=false", "-trimpath"}, "CGO_ENABLED=0"
	if race { // the agent is under the detector when its tests are
		out, args, cgo = out+"-race", []string{"build", "-buildvcs=false", "-race"}, "CGO_ENABLED=1"
	}
	cmd := exec.Command("go", append(args, "-o", out, "gitlab.com/skerry/skerry/cmd/skerry-agent")...) //nolint:noctx // shared by tests, no one's context
	cmd.Env = append(os.Environ(), cgo)
	if b, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, b)
	}
	body, err := os.ReadFile(out)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(body)
	path := filepath.Join(dir, hex.EncodeToString(sum[:6])+"-agent")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	syscall.ForkLock.RLock() // a process that another test is starting just now must not have it open for writing
	err = os.WriteFile(path+".new", body, 0o755)
	syscall.ForkLock.RUnlock()
	if err != nil {
		return "", err
	}
	return path, os.Rename(path+".new", path)
}
