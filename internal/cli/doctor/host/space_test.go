package host_test

import (
	"testing"

	"gitlab.com/skerry/skerry/internal/cli/doctor/finding"
	"gitlab.com/skerry/skerry/internal/cli/doctor/host"
)

func TestDisk(t *testing.T) {
	t.Parallel()
	const much = 1 << 62 // more than any disk has
	m := machine(t, nil)
	s := host.Space{About: "the runner's state", Path: "/not/yet/there", Advice: "remove something"}
	want(t, host.Disk(m, s), finding.Fine, "free for the runner's state", "")
	s.Warn = much
	want(t, host.Disk(m, s), finding.Warning, "the runner's state of /not/yet/there has ", "remove something")
	s.Fail, s.Mend = much, []finding.Command{{"podman", "image", "prune", "--force"}}
	want(t, host.Disk(m, s), finding.Failure, " left", "podman image prune --force")
}

func TestNestedDisk(t *testing.T) {
	t.Parallel()
	m := machine(t, nil)
	want(t, host.NestedDisk(m, "/not/yet/there", []uint64{1, 2}), finding.Fine, "engines of jobs may keep 0.0 MiB of ", "")
	want(t, host.NestedDisk(m, "/not/yet/there", []uint64{1 << 60, 1 << 60}), finding.Warning, "nested_disk lets the engines of 2 jobs keep", "set nested_disk in [runners.docker] to a share")
	want(t, host.NestedShare(m, "/not/yet/there", 0), finding.Fine, "engines of jobs may keep a share of ", "")
	want(t, host.NestedShare(m, "/not/yet/there", 1<<62), finding.Warning, "nested_disk lets the engine of a job keep a share of what is free", "set nested_disk in [runners.docker] to a size")
}

func TestSize(t *testing.T) {
	t.Parallel()
	for n, want := range map[uint64]string{0: "0.0 MiB", 300 << 20: "300.0 MiB", 5 << 30: "5.0 GiB"} {
		if got := host.Size(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}
