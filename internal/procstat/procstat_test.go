package procstat_test

import (
	"os"
	"testing"

	"gitlab.com/skerry/skerry/internal/procstat"
)

func TestParse(t *testing.T) {
	t.Parallel()
	line := func(name, state, threads string) string {
		return "42 (" + name + ") " + state + " 1 42 7 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 " + threads + " 0 987654 0 0"
	}
	for _, c := range []struct {
		name, line string
		ok, ended  bool
		state      string
		threads    int
	}{
		{"plain", line("sh", "S", "1"), true, false, "S", 1},
		{"name like a stat", line("a) Z 1 2 3 (b", "S", "1"), true, false, "S", 1},
		{"zombie", line("sh", "Z", "1"), true, true, "Z", 1},
		{"dead leader, living threads", line("sh", "Z", "3"), true, false, "Z", 3},
		{"dead", line("sh", "X", "1"), true, true, "X", 1},
		{name: "short", line: "42 (sh) S 1"},
		{name: "no name", line: "42 S 1 42 7 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 987654 0 0"},
		{name: "empty", line: ""},
	} {
		got, err := procstat.Parse(42, []byte(c.line))
		want := procstat.Stat{}
		if c.ok {
			want = procstat.Stat{PID: 42, State: c.state, Parent: 1, Session: 7, Threads: c.threads, Start: 987654}
		}
		if (err == nil) != c.ok || got != want || got.Ended() != c.ended {
			t.Errorf("%s: %+v, %v", c.name, got, err)
		}
	}
}

func TestReadOurselves(t *testing.T) {
	t.Parallel()
	me, err := procstat.Read(os.Getpid())
	if err != nil || me.PID != os.Getpid() || me.Parent != os.Getppid() || me.Start == 0 || me.Ended() {
		t.Errorf("%+v, %v", me, err)
	}
	if _, err := procstat.Read(-1); err == nil {
		t.Error("there is no process -1")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("42 (sh) S 1 42 7 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 987654 0 0"))
	f.Add([]byte("42 (a) b) Z"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := procstat.Parse(42, b); err == nil && s.PID != 42 {
			t.Fatalf("%+v", s)
		}
	})
}
