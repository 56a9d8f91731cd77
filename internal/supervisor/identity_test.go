package supervisor_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"gitlab.com/skerry/skerry/internal/supervisor"
)

// status has a program say some of what the kernel says of it.
const status = `while read -r key value; do case $key in Uid:|Gid:|Groups:|Cap*|NoNewPrivs:) echo "$key" $value;; esac; done </proc/self/status; pwd; exec /bin/sleep 1000`

// rights are the lines of status that the log has by now, as a map.
func (s started) rights() map[string]string {
	all := map[string]string{}
	for line := range strings.Lines(s.log.String()) {
		rest, _ := strings.CutPrefix(line, "it | ")
		if key, value, ok := strings.Cut(strings.TrimSpace(rest), ": "); ok {
			all[key] = value
		}
	}
	return all
}

// asRoot skips a test that changes users where it cannot.
func asRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root becomes others")
	}
}

func TestIdentity(t *testing.T) {
	if !alone(t) {
		return
	}
	asRoot(t)
	s := start(t)
	p := script(status)
	p.Command.Dir = "/tmp"
	p.Command.As = &supervisor.Identity{UID: 65533, GID: 65532, Groups: []int{65531}, Bounding: []int{unix.CAP_SETUID}, NoNewPrivileges: true}
	k := s.keep(p)
	s.log.await(t, "it | /tmp\n", 1)
	k.Stop(limit)
	none := strings.Repeat("0", 16)
	want := map[string]string{
		"Uid": "65533 65533 65533 65533", "Gid": "65532 65532 65532 65532", "Groups": "65531 65532",
		"CapInh": none, "CapPrm": none, "CapEff": none, "CapAmb": none, "NoNewPrivs": "1",
		"CapBnd": fmt.Sprintf("%016x", 1<<unix.CAP_SETUID),
	}
	if d := cmp.Diff(want, s.rights()); d != "" {
		t.Error(d)
	}
}

// TestConfine: a supervisor with the rights that it keeps can still make a program another user's and end it, and root that it
// starts has no more than it.
func TestConfine(t *testing.T) {
	if !alone(t) {
		return
	}
	asRoot(t)
	keep := []int{unix.CAP_KILL, unix.CAP_SETUID, unix.CAP_SETGID, unix.CAP_SETPCAP}
	if err := supervisor.Confine(keep); errors.Is(err, errors.ErrUnsupported) {
		t.Skip("this build is linked with C")
	} else if err != nil {
		t.Fatal(err)
	}
	s := start(t)
	k := s.keep(script(status))
	s.log.await(t, "it | /", 1)
	k.Stop(limit)
	want := fmt.Sprintf("%016x", 1<<unix.CAP_KILL|1<<unix.CAP_SETUID|1<<unix.CAP_SETGID|1<<unix.CAP_SETPCAP)
	if got := s.rights(); got["CapEff"] != want || got["CapBnd"] != want {
		t.Errorf("effective %s, bounding %s, want %s", got["CapEff"], got["CapBnd"], want)
	}
	s.log = newSeen()
	p := script(status)
	p.Command.As = &supervisor.Identity{UID: 65533, GID: 65532}
	p.Command.Dir = "/"
	k = s.keep(p)
	s.log.await(t, "it | /\n", 1)
	k.Stop(limit)
	if got := s.rights(); got["Uid"] != "65533 65533 65533 65533" {
		t.Error(got)
	}
}

// TestSeen: what only another user may read is read with his rights, and not what he may not.
func TestSeen(t *testing.T) {
	t.Parallel()
	asRoot(t)
	dir := t.TempDir()
	for _, p := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(p, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, uid := range map[string]int{"own": 65533, "roots": 0} {
		if err := os.WriteFile(dir+"/"+name, []byte(name), 0o400); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(dir+"/"+name, uid, 0); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]error{"own": nil, "roots": unix.EACCES} {
		err := supervisor.Seen(65533, 65532, func() error {
			_, err := os.ReadFile(dir + "/" + name)
			return err
		})
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
}

func TestEnvironmentOf(t *testing.T) {
	t.Parallel()
	got := supervisor.EnvironmentOf([]string{"A=1", "B=2", "C=3", "D"}, []string{"B=4", "E=5"}, "C")
	if d := cmp.Diff([]string{"A=1", "D", "B=4", "E=5"}, got); d != "" {
		t.Error(d)
	}
}
