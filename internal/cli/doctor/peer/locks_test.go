package peer_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"gitlab.com/skerry/skerry/internal/cli/doctor/finding"
	"gitlab.com/skerry/skerry/internal/cli/doctor/host"
	"gitlab.com/skerry/skerry/internal/cli/doctor/peer"
)

// TestLocks has engines that tell how many locks they have, and older ones; TestLocksOfPodman of doctor has a real one mended.
func TestLocks(t *testing.T) {
	t.Parallel()
	a := host.Account{Name: "ci", UID: os.Getuid(), Home: "/home/ci"}
	some := func(n int, what string) string {
		return "[" + strings.TrimSuffix(strings.Repeat(what+",", n), ",") + "]"
	}
	const renumber = "podman system renumber"
	more := "mkdir -p /home/ci/.config/containers/containers.conf.d && sh -c '{ echo '\\''[engine]'\\''; echo num_locks = 8192; } >/home/ci/.config/containers/containers.conf.d/90-locks.conf' && rm -f /dev/shm/libpod_rootless_lock_" + strconv.Itoa(os.Getuid()) + " && " + renumber
	for name, c := range map[string]struct {
		info                string
		containers, volumes int
		state               string
		severity            finding.Severity
		what, mend, advice  string
	}{
		"plenty":               {`{"host":{"freeLocks":2000}}`, 10, 10, "running", finding.Fine, "2000 are free", "", ""},
		"lost ones":            {`{"host":{"freeLocks":20}}`, 10, 10, "exited", finding.Warning, "has 20 locks left", renumber, "restart the engine's service"},
		"none left, lost ones": {`{"host":{"freeLocks":0}}`, 10, 10, "exited", finding.Failure, "has 0 locks left", renumber, "restart"},
		"containers run":       {`{"host":{"freeLocks":0}}`, 10, 10, "running", finding.Failure, "has 0 locks left", "", "stop the runner and all containers, and then: `" + renumber + "`"},
		"too many":             {`{"host":{"freeLocks":8}}`, 20, 2020, "exited", finding.Failure, "has 8 locks left", more, "volume prune"},
		"old, plenty":          {`{"host":{}}`, 10, 10, "running", finding.Fine, "2028 are free", "", ""},
		"old, too many":        {`{"host":{}}`, 48, 2001, "exited", finding.Failure, "has 0 locks left", more, "volume prune"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := at(t, elsewhere(t), "unix://"+serveAll(t, "podman", "5.4.2", map[string]string{
				"/libpod/info": c.info, "/libpod/volumes/json": some(c.volumes, "{}"), "/libpod/pods/json": "null",
				"/libpod/containers/json": some(c.containers, fmt.Sprintf(`{"State":%q}`, c.state)),
				"/info":                   `{"Driver":"overlay","DockerRootDir":"/storage","SecurityOptions":["name=rootless"]}`,
			}))
			want(t, peer.Locks(e, a), finding.Skipped, "could not be asked", "")
			e.Check().Look(t.Context())
			got := want(t, peer.Locks(e, a), c.severity, c.what, "")
			if finding.Line(got.Mend) != c.mend || !strings.Contains(got.Advice, c.advice) {
				t.Errorf("mended by %q (%s)", finding.Line(got.Mend), got.Advice)
			}
			if len(got.Mend) > 1 { // and what it writes is what counts
				do(t, finding.Result{Mend: got.Mend[:2]}, a.Home, filepath.Join(e.Machine.Root, a.Home))
				if n := (host.ContainersConf{Machine: e.Machine, Home: a.Home}).Locks(); n != 4*host.DefaultLocks {
					t.Errorf("there are %d locks then", n)
				}
			}
		})
	}
	e := at(t, here(), "unix://"+serve(t, "podman", "4.3.1"))
	e.Check().Look(t.Context())
	want(t, peer.Locks(e, a), finding.Skipped, "it answers 404", "")
}
