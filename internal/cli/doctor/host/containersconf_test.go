package host_test

import (
	"testing"

	"gitlab.com/skerry/skerry/internal/cli/doctor/host"
)

func TestNumberOfLocks(t *testing.T) {
	t.Parallel()
	const all, part, own = "etc/containers/containers.conf", "etc/containers/containers.conf.d/90-locks.conf", "home/ci/.config/containers/containers.conf.d/90-locks.conf"
	locks := func(n string) string { return "[engine]\nnum_locks = " + n + "\n" }
	for name, c := range map[string]struct {
		files files
		home  string
		want  int
	}{
		"default":        {nil, "/home/ci", 2048},
		"the machine's":  {files{"usr/share/containers/containers.conf": locks("1"), all: locks("4")}, "/home/ci", 4},
		"a part":         {files{all: locks("4"), part: locks("8")}, "", 8},
		"the user's":     {files{part: locks("8"), own: locks("16")}, "/home/ci", 16},
		"not root's":     {files{part: locks("8"), own: locks("16")}, "", 8},
		"not understood": {files{all: "[engine"}, "", 2048},
	} {
		if got := (host.ContainersConf{Machine: machine(t, c.files), Home: c.home}).Locks(); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}
