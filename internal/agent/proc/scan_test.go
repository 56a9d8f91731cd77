package proc

import (
	"os"
	"testing"
)

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
