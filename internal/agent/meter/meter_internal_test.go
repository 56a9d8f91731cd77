package meter

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestRead(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		list  string
		files map[string]string
		want  Reading // CPU 0 or Memory 0: that of this process's children
	}{
		"version 2 in a container": {"0::/\n", map[string]string{
			"cgroup.procs": "1\n42\n", "memory.current": "5", "memory.peak": "7000000\n", "memory.max": "8000000\n",
			"memory.events": "low 0\noom 2\noom_kill 1\n", "cpu.stat": "usage_usec 1500000\nuser_usec 1\n",
		}, Reading{1500 * time.Millisecond, 7000000, 8000000, 1}},
		"version 1, seen from the host": {"9:memory:/x/y\n4:cpu,cpuacct:/x/y\n0::/\n", map[string]string{
			"memory/cgroup.procs": "42\n", "memory/memory.usage_in_bytes": "5", "memory/memory.max_usage_in_bytes": "9000000\n",
			"memory/memory.limit_in_bytes": "9223372036854771712\n", "memory/memory.oom_control": "oom_kill_disable 0\noom_kill 3\n",
			"cpu,cpuacct/cgroup.procs": "42\n", "cpu,cpuacct/cpuacct.usage": "2000000000\n",
		}, Reading{2 * time.Second, 9000000, 0, 3}},
		"no limit": {"0::/\n", map[string]string{
			"cgroup.procs": "42\n", "memory.current": "5", "memory.peak": "7\n", "memory.max": "max\n", "cpu.stat": "usage_usec 1\n",
		}, Reading{time.Microsecond, 7, 0, 0}},
		"others are in it": {"0::/\n", map[string]string{
			"cgroup.procs": "0\n42\n", "memory.current": "5", "memory.peak": "7000000\n", "cpu.stat": "usage_usec 1500000\n",
		}, Reading{}},
		"the whole machine's": {"4:memory:/\n5:cpuacct:/\n", map[string]string{
			"memory/cgroup.procs": "42\n", "memory/memory.usage_in_bytes": "5", "memory/memory.max_usage_in_bytes": "9\n", "memory/release_agent": "",
			"cpuacct/cgroup.procs": "42\n", "cpuacct/cpuacct.usage": "2000000000\n", "cpuacct/release_agent": "",
		}, Reading{}},
		"nothing": {"", nil, Reading{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for path, content := range c.files {
				path = filepath.Join(dir, "mount", path)
				if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.WriteFile(filepath.Join(dir, "list"), []byte(c.list), 0o600); err != nil {
				t.Fatal(err)
			}
			m := &Meter{}
			m.find(filepath.Join(dir, "list"), filepath.Join(dir, "mount"), 42)
			got := m.Read()
			if c.want.CPU == 0 {
				if got.CPU <= 0 {
					t.Errorf("no time of this process: %v", got)
				}
				got.CPU, got.Memory = 0, 0
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestOlder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "cpuacct.usage"), []byte("3600000000000\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	m := &Meter{cpu: dir}
	if !m.older(time.Second) || m.older(2*time.Hour) || !(&Meter{}).older(time.Hour) {
		t.Error("an hour of CPU time in a second, or not in two hours")
	}
}
