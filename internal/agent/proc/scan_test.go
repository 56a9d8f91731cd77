package proc

import (
	"os"
	"testing"
)

func TestParseStat(t *testing.T) {
	t.Parallel()
	const rest = " 1 42 7 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 %T 0 987654 0 0"
	line := func(name, state, threads string) string {
		s := "42 (" + name + ") " + state + rest
		return s[:len(s)-len("%T 0 987654 0 0")] + threads + " 0 987654 0 0"
	}
	for _, c := range []struct {
		name, line string
		ok         bool
	}{
		{"plain", line("sh", "S", "1"), true},
		{"name like a stat", line("a) Z 1 2 3 (b", "S", "1"), true},
		{"zombie", line("sh", "Z", "1"), false},
		{"dead leader, living threads", line("sh", "Z", "3"), true},
		{"dead", line("sh", "X", "1"), false},
		{"short", "42 (sh) S 1", false},
		{"empty", "", false},
	} {
		p, ok := parseStat(42, []byte(c.line))
		if want := (info{identity: identity{pid: 42, start: 987654}, ppid: 1, sid: 7}); ok != c.ok || ok && p != want {
			t.Errorf("%s: %+v %v", c.name, p, ok)
		}
	}
}

func TestScanFindsOurselves(t *testing.T) {
	t.Parallel()
	all := scan()
	me, ok := all[os.Getpid()]
	if !ok || me.ppid != os.Getppid() || me.start == 0 {
		t.Fatalf("%+v %v", me, ok)
	}
	found := false
	for _, p := range descendants(all, me.ppid) {
		found = found || p == me
	}
	if !found {
		t.Error("not among the descendants of our parent")
	}
	if h, ok := open(me.identity); !ok || h.pid != me.pid {
		t.Error("no handle of ourselves")
	}
	if _, ok := open(identity{pid: me.pid, start: me.start + 1}); ok {
		t.Error("a handle of a process that had our pid at another time")
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("42 (sh) S 1 42 7 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 987654 0 0"))
	f.Add([]byte("42 (a) b) Z"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, ok := parseStat(42, b); ok && p.pid != 42 {
			t.Fatalf("%+v", p)
		}
	})
}
