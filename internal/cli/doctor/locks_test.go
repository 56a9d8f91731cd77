package doctor_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestLocksOfPodman has a real Podman with few locks, most of which volumes have, and takes the advice: it can make more then.
func TestLocksOfPodman(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("podman"); err != nil || os.Getuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("it takes podman and root: run scripts/setup.sh")
		}
		t.Skip("it takes podman and root")
	}
	root := machine(t, strings.ReplaceAll(rootful, "engine.sock", "own.sock"))
	before, after, said := run(t, root, `mount --rbind /real/sys /sys
mkdir -p /etc/containers
printf '[storage]\ndriver = "vfs"\nrunroot = "/run/containers/storage"\ngraphroot = "/var/lib/containers/storage"\n' >/etc/containers/storage.conf
printf '[engine]\nnum_locks = 32\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n' >/etc/containers/containers.conf
for i in $(seq 32); do podman volume create $i; done >/dev/null
podman volume create more && exit 1
podman system service --time=0 unix:///run/own.sock &
for i in $(seq 1200); do [ -S /run/own.sock ] && break; sleep 0.1; done
`+twice("locks", "")+`podman volume create more
`, "")
	if before.Severity != "failure" || before.What != "Podman has 0 locks left" || after.Severity != "ok" || !strings.Contains(said, ", 1 mended") {
		t.Errorf("it found %+v, and afterwards %+v:\n%s", before, after, said)
	}
}
