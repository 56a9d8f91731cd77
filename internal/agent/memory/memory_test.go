package memory_test

import (
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/agent/memory"
)

func TestRead(t *testing.T) {
	t.Parallel()
	v1 := map[string]string{
		"memory/cgroup.procs": "1\n17\n", "memory/memory.limit_in_bytes": "67108864\n", "memory/memory.max_usage_in_bytes": "67100000\n",
		"memory/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
	}
	without := func(name, text string) map[string]string {
		m := maps.Clone(v1)
		m[name] = text
		return m
	}
	for name, c := range map[string]struct {
		files map[string]string
		want  memory.Usage
		none  bool
	}{
		"version 1":          {files: v1, want: memory.Usage{Kills: 2, Limit: 64 << 20, Peak: 67100000}},
		"version 1, endless": {files: without("memory/memory.limit_in_bytes", "9223372036854771712\n"), want: memory.Usage{Kills: 2, Peak: 67100000}},
		"the machine's":      {files: without("memory/cgroup.procs", "0\n0\n12\n"), none: true},
		"nothing":            {none: true},
		"version 2": {
			files: map[string]string{"cgroup.procs": "1\n", "memory.max": "max\n", "memory.peak": "4096\n", "memory.events": "low 0\noom 1\noom_kill 1\noom_group_kill 0\n"},
			want:  memory.Usage{Kills: 1, Peak: 4096},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if err := os.Mkdir(filepath.Join(dir, "memory"), 0o755); err != nil {
				t.Fatal(err)
			}
			for f, text := range c.files {
				if err := os.WriteFile(filepath.Join(dir, f), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			got, ok := memory.Read(dir)
			if diff := cmp.Diff(c.want, got); diff != "" || ok == c.none {
				t.Errorf("ok %v, -want +got:\n%s", ok, diff)
			}
		})
	}
}

func TestKilled(t *testing.T) {
	t.Parallel()
	now := memory.Usage{Kills: 3, Limit: 64 << 20, Peak: 64<<20 - 1<<19}
	for before, want := range map[int]string{
		3: "", 2: "out of memory: a process was killed (the limit is 64.0 MiB, the peak was 63.5 MiB)",
		1: "out of memory: 2 processes were killed (the limit is 64.0 MiB, the peak was 63.5 MiB)",
	} {
		if got := now.Killed(memory.Usage{Kills: before}); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
