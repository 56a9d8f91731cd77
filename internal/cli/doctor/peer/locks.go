package peer

import (
	"context"
	"fmt"
	"path/filepath"

	"gitlab.com/skerry/skerry/internal/cli/doctor/finding"
	"gitlab.com/skerry/skerry/internal/cli/doctor/host"
)

// How few locks are too few: a job takes about ten.
const (
	locksFailure = 16
	locksWarning = 200
)

// Locks checks that Podman has locks left for containers and volumes. a is whose engine it is, if it is rootless.
func Locks(e *Engine, a host.Account) finding.Check {
	return finding.Check{Name: "locks", About: shown(e.Facts().Found.Host), Look: func(ctx context.Context) finding.Result {
		ctx, cancel := context.WithTimeout(ctx, within)
		defer cancel()
		c, f := e.Connection(), e.Facts()
		if c == nil {
			return finding.Skip("the engine could not be asked")
		}
		l, err := c.Locks(ctx)
		if err != nil {
			return finding.Skip("%s", oneLine(err))
		}
		home := ""
		if f.Rootless {
			home = a.Home
		}
		conf := host.ContainersConf{Machine: e.Machine, Home: home}
		all := conf.Locks()
		if l.Free < 0 {
			l.Free = max(all-l.Taken, 0)
		}
		if l.Free >= locksWarning {
			return finding.OK("%d are free for containers and volumes", l.Free)
		}
		bad := finding.Result{
			Severity: finding.Warning, What: fmt.Sprintf("Podman has %d locks left", l.Free),
			Why: `each container and each volume has one: without, jobs fail with "exceeded num_locks"`,
		}
		if l.Free < locksFailure {
			bad.Severity = finding.Failure
		}
		as := e.Machine.AsRoot
		if f.Rootless {
			as = func(argv ...string) finding.Command { return e.Machine.As(a, argv...) }
		}
		var mend []finding.Command
		if l.Taken > all/2 { // by what there is: more are needed
			file, more := conf.LocksFile(), max(4*all, host.DefaultLocks)
			mend = append(mend, as("mkdir", "-p", filepath.Dir(file)), as("sh", "-c", fmt.Sprintf("{ echo '[engine]'; echo num_locks = %d; } >%s", more, finding.Command{file})),
				as("rm", "-f", locksOf(f))) // renumber makes them anew; of Podman 4.3 it ends where there is another number of them
		}
		mend = append(mend, as("podman", "system", "renumber")) // those of what was lost are free then
		if l.Running {
			bad.Advice = "stop the runner and all containers, and then: `" + finding.Line(mend) + "`; `podman volume prune` frees more"
			return bad
		}
		bad.Mend, bad.Advice = mend, "restart the engine's service afterwards, if it has one; `podman volume prune` frees more"
		return bad
	}}
}

// locksOf is the file in memory that has the locks of an engine. Source: podman, libpod/define, DefaultSHMLockPath and
// DefaultRootlessSHMLockPath.
func locksOf(f Facts) string {
	if f.Rootless {
		return fmt.Sprintf("/dev/shm/libpod_rootless_lock_%d", f.UID)
	}
	return "/dev/shm/libpod_lock"
}
