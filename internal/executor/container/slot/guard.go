package slot

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
)

// How a slot's namespace is joined to or taken from the engine's bridges.
const (
	joining = unix.LOCK_SH
	leaving = unix.LOCK_EX
)

// guardTime is how long others are waited for. After that one goes on: the worst is a job without a network.
const guardTime = 20 * time.Second

// guard keeps the start of one slot and the removal of another apart, also between processes, until release
// is called. Rootless Podman has all its bridges in one network namespace, which it takes down when the last
// running container on a bridge is removed; one that is just being started does not count (4.3.1), and then
// reaches nothing. What is locked is the directory of the engine's socket.
func guard(ctx context.Context, engine *engineapi.Engine, how int) (release func()) {
	path, local := strings.CutPrefix(engine.Address.Host, "unix://")
	if engine.Kind != engineapi.Podman || !engine.Rootless || !local {
		return func() {}
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return func() {}
	}
	release = func() { _ = dir.Close() }
	deadline := time.Now().Add(guardTime)
	for unix.Flock(int(dir.Fd()), how|unix.LOCK_NB) == unix.EWOULDBLOCK && time.Now().Before(deadline) {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return release
		}
	}
	return release
}
