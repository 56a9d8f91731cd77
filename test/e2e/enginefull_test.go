package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"gitlab.com/skerry/skerry/internal/executor/container/enginetest"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
)

// smallPodman makes a Podman whose images, containers and volumes are on a disk of their own.
func smallPodman(t *testing.T, size string) machine {
	t.Helper()
	dir, err := os.MkdirTemp("", "skerry-e2e-small")
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("skerry-e2e", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Fatalf("this test fills a disk of its own: it needs the right to mount a tmpfs (root, CAP_SYS_ADMIN): %v", err)
	}
	t.Cleanup(func() {
		// Podman leaves a mount, and cleans up after containers in processes of its own, which make it again.
		until(t, "the disk is gone", func() bool {
			_ = unix.Unmount(filepath.Join(dir, "root", "overlay"), unix.MNT_DETACH)
			_ = unix.Unmount(dir, unix.MNT_DETACH)
			return os.RemoveAll(dir) == nil
		})
	})
	p := &engineProcess{
		t: t, socket: filepath.Join(dir, "podman.sock"), env: []string{"CONTAINERS_CONF=/var/lib/skerry-test-engines/containers.conf"},
	}
	p.command = []string{
		"podman", "--root", filepath.Join(dir, "root"), "--runroot", filepath.Join(dir, "run"), "system", "service", "--time=0", "unix://" + p.socket,
	}
	p.start()
	t.Cleanup(func() { p.end(syscall.SIGTERM) })
	m := machine{engine: enginetest.Engine{Name: "podman-small"}}
	m.engine.Address.Host = "unix://" + p.socket
	return m
}

// reserve takes a little of the small engine's disk.
func (m machine) reserve(t *testing.T) string {
	t.Helper()
	path := filepath.Join(filepath.Dir(strings.TrimPrefix(m.engine.Address.Host, "unix://")), "reserve")
	if err := os.WriteFile(path, make([]byte, 4<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestDiskOfTheEngineFull lets a job fill the disk that it writes to: what it sees is its own affair, its end and its log
// are true, and the next job has the space again.
func TestDiskOfTheEngineFull(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, _ machine) {
		m := smallPodman(t, "400m")
		r := m.runner(t, m.project(t, gitlabtest.Options{}))
		r.start()
		reserve := m.reserve(t)
		for range 2 {
			j, log := r.wait(r.add(gitlabtest.JobSpec{Project: "group/project", Script: []string{
				"echo said before", "dd if=/dev/zero of=/big bs=1M || echo it is full", "seq 2000 | tail -n 1", "exit 7",
			}, AfterScript: []string{"echo after $CI_JOB_STATUS"}}))
			want(t, j, log, gitlabtest.StatusFailed, "script_failure")
			contains(t, log, "01O said before", "No space left on device", "01O it is full", "01O 2000", "after failed", "exit code 7")
			// Podman cannot remove a container when there is no room for its own records: somebody makes some.
			if err := os.Remove(reserve); err != nil {
				t.Fatal(err)
			}
			r.restart()
			until(t, "the environment is gone", func() bool { return len(r.environments()) == 0 })
			reserve = m.reserve(t)
		}
	}, "podman")
}
