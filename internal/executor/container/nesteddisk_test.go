package container_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/executor"
)

// testNestedDisk has a job fill the disk by its engine: what is not there any more, and holes, are nothing; a file that nobody can find, and
// that nobody but one of its users could look into, is, also when nobody may look into the directory of the engine's user any more.
func testNestedDisk(t *testing.T, b *bench, image string) {
	t.Helper()
	o, n := b.o, *b.o.Nested
	n.Disk.Bytes = 64 << 20
	o.Nested = &n
	j := theJob(image)
	j.Slot, o.SlotCgroup = 7, slotCgroup(t, b)
	r := b.prepare(t, o, j)
	r.script(executor.Build, fromTar)
	if o.SlotCgroup != "" {
		testSlotCgroup(t, r)
	}
	got := r.script(executor.Build, `podman --remote run --rm box /bin/busybox sh -c 'busybox truncate -s 20G /hole; `+
		`for i in 1 2 3; do busybox dd if=/dev/zero of=/f bs=1M count=30 2>/dev/null && busybox rm /f; done; echo goes on' && podman --remote run --rm -v /:/host box /bin/busybox chroot /host perl -e 'open my $f, ">", "/tmp/taken"; print "$!\n" if -1 == syscall(285, fileno $f, 0, 0, 1 << 30); print "holes\n" if 0 == syscall(285, fileno $f, 3, 0, 1 << 20); chmod 0, "/home/podman" or print "$!\n"'`)
	if got != "goes on\nOperation not supported\nholes" {
		t.Errorf("within what an engine may keep: %q", got)
	}
	got = r.script(executor.Build, `podman --remote run --rm -u 7 -v data:/d:U box /bin/busybox sh -c 'busybox chmod 700 /d && exec 3>/d/f && busybox rm /d/f && busybox dd if=/dev/zero bs=1M count=200 >&3 && `+
		`busybox sleep 100; exit 0' >/dev/null 2>&1 || echo ended; { podman --remote ps 2>&1 || true; } | sed -n 's/.*\(was ended: it kept\) .* \(nested_disk\) .*\(podman system prune\).*/\1 \2 \3/p'`)
	if want := "ended\nwas ended: it kept nested_disk podman system prune"; got != want {
		t.Errorf("beyond it: %q, want %q", got, want)
	}
	testReport(t, adopted(t, b, r))
}

// testReport has a job be told at its end that its engine was ended.
func testReport(t *testing.T, r *run) {
	t.Helper()
	var said strings.Builder
	for end := time.Now().Add(patience); said.Len() == 0 && time.Now().Before(end); { // who has lost the engine may know it before its container has said why
		r.env.(executor.Companion).Report(t.Context(), &said)
	}
	if !strings.Contains(said.String(), "WARNING: the job's own container engine was ended: it kept") {
		t.Errorf("the job is told at its end: %q", said.String())
	}
}

// slotCgroup names control groups of slots that only this test has; "" where the engine gives containers none, or they are not seen in containers.
func slotCgroup(t *testing.T, b *bench) string {
	t.Helper()
	if _, err := os.Stat("/sys/fs/cgroup/memory"); err != nil || b.e.Name == "rootless" {
		return ""
	}
	name := "/skerry-test-" + executor.NewRef("x").ID
	t.Cleanup(func() {
		for _, below := range []string{"/slot-7/conmon", "/slot-7", ""} {
			dirs, _ := filepath.Glob("/sys/fs/cgroup/*" + name + below)
			for _, dir := range dirs {
				_ = os.Remove(dir)
			}
		}
	})
	return name + "/slot-${slot}"
}

// testSlotCgroup has a job and its engine below one control group.
func testSlotCgroup(t *testing.T, r *run) {
	t.Helper()
	got := r.script(executor.Build, `{ cat /proc/self/cgroup; podman --remote run --rm -v /:/host box /bin/busybox cat /host/proc/1/cgroup; } | sed -n 's,.*:memory:.*\(/slot-[0-9]*\)/.*,\1,p'`)
	if got != "/slot-7\n/slot-7" {
		t.Errorf("job and engine are in %q", got)
	}
}
