package service

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/cli/program"
)

// TestUnitIsTheDeployedOne compares with the file that is there to be copied.
func TestUnitIsTheDeployedOne(t *testing.T) {
	t.Parallel()
	want, err := os.ReadFile("../../../deploy/systemd/skerry.service")
	if err != nil {
		t.Fatal(err)
	}
	got, err := unit{Name: "skerry", Binary: "/usr/local/bin/skerry", Config: "/etc/skerry/config.toml", Work: "/var/lib/skerry"}.text()
	if err != nil {
		t.Fatal(err)
	}
	_, body, _ := strings.Cut(string(want), "[Unit]")
	if diff := cmp.Diff("[Unit]"+body, got); diff != "" {
		t.Errorf("deploy/systemd/skerry.service and unit.tmpl differ: %s", diff)
	}
}

func TestQuote(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"/a/b": "/a/b", "/a b": `"/a b"`, `/a"b`: `"/a\"b"`, "/50%/$x": "/50%%/$$x", "": `""`, "/a;b": `"/a;b"`,
	} {
		if got := quote(in); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}

// machine is one with systemd, whose systemctl only notes what it is told.
type machine struct {
	*control
	out   bytes.Buffer
	calls []string
	fail  string // the first word of calls that fail
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	m := &machine{}
	p := program.New([]string{"skerry"}, program.Streams{In: strings.NewReader(""), Out: &m.out, Err: &m.out}, program.Build{})
	p.UID = 0
	m.control = newControl(p)
	m.units, m.running = t.TempDir(), t.TempDir()
	m.systemctl = func(_ context.Context, args ...string) (string, error) {
		m.calls = append(m.calls, strings.Join(args, " "))
		if args[0] == m.fail {
			return "inactive\n", errors.New("exit status 3")
		}
		return "active\n", nil
	}
	return m
}

func (m *machine) run(t *testing.T, args ...string) error {
	t.Helper()
	for _, c := range m.commands() {
		if c.Name() == args[0] {
			c.SetArgs(args[1:])
			c.SetOut(&m.out)
			c.SetErr(&m.out)
			c.SilenceErrors, c.SilenceUsage = true, true
			return c.ExecuteContext(t.Context())
		}
	}
	t.Fatalf("no command %s", args[0])
	return nil
}

func TestServiceComesAndGoes(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	path := filepath.Join(m.units, "mine.service")
	for _, args := range [][]string{
		{"install", "-n", "mine", "-c", "/etc/x.toml", "-u", "ci"}, {"start", "-n", "mine"}, {"status", "-n", "mine"},
		{"restart", "-n", "mine"}, {"stop", "-n", "mine"},
	} {
		if err := m.run(t, args...); err != nil {
			t.Fatal(args, err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(text), " run --config /etc/x.toml --working-directory /var/lib/mine --state-dir /var/lib/mine/state --user ci\n") {
		t.Fatalf("%v: %s", err, text)
	}
	if err := m.run(t, "install", "-n", "mine"); err == nil || !strings.Contains(err.Error(), "exists already") {
		t.Error(err)
	}
	if err := m.run(t, "uninstall", "-n", "mine"); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("the unit is still there")
	}
	want := []string{"daemon-reload", "enable mine.service", "start mine.service", "is-active mine.service", "restart mine.service",
		"stop mine.service", "disable --now mine.service", "daemon-reload"}
	if diff := cmp.Diff(want, m.calls); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(m.out.String(), "mine: Service is running\n") {
		t.Error(m.out.String())
	}
}

func TestServiceRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args []string
		with func(*machine)
		want string
	}{
		"no systemd": {[]string{"install"}, func(m *machine) { m.running = "/nowhere" }, "systemd does not run this machine"},
		"not root":   {[]string{"start"}, func(m *machine) { m.program.UID = 1000 }, "needs root"},
		"a bad name": {[]string{"install", "-n", "../x"}, nil, "cannot be the name"},
		"another's unit": {[]string{"uninstall"}, func(m *machine) {
			_ = os.WriteFile(filepath.Join(m.units, "skerry.service"), []byte("[Unit]\n"), 0o600)
		}, "was not made by install"},
		"none":      {[]string{"uninstall"}, nil, "no service to uninstall"},
		"stopped":   {[]string{"status"}, func(m *machine) { m.fail = "is-active" }, "does not run: inactive"},
		"init-user": {[]string{"install", "--init-user", "x"}, nil, "not supported"},
		"a failure": {[]string{"install"}, func(m *machine) { m.fail = "enable" }, "exit status 3"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			if c.with != nil {
				c.with(m)
			}
			if err := m.run(t, c.args...); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

func TestDryRunDoesNothing(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.running, m.program.UID = "/nowhere", 1000
	for _, name := range []string{"install", "uninstall", "start", "stop", "restart", "status"} {
		if err := m.run(t, name, "--dry-run"); err != nil {
			t.Error(name, err)
		}
	}
	entries, err := os.ReadDir(m.units)
	if err != nil || len(entries) > 0 || len(m.calls) > 0 {
		t.Errorf("%v %v %v", entries, m.calls, err)
	}
	for _, line := range []string{"ExecStart=", "systemctl enable skerry.service", "systemctl disable --now skerry.service", "systemctl restart skerry.service"} {
		if !strings.Contains(m.out.String(), line) {
			t.Errorf("no %q in %s", line, m.out.String())
		}
	}
}

// TestUnitOfAnotherUser: who jobs run as may make nothing in the service's directory, which is root's.
func TestUnitOfAnotherUser(t *testing.T) {
	t.Parallel()
	u := unit{Name: "skerry", Binary: "/usr/bin/skerry", Config: "/etc/skerry/config.toml", Work: "/srv/my runner"}
	for user, want := range map[string]string{"": "", "ci": `install -d -m 0700 -o ci "/srv/my runner/builds" "/srv/my runner/cache"`} {
		u.User = user
		text, err := u.text()
		if err != nil {
			t.Fatal(err)
		}
		_, line, found := strings.Cut(text, "\nExecStartPre=")
		line, _, _ = strings.Cut(line, "\n")
		if line != want || found != (want != "") {
			t.Errorf("user %q: ExecStartPre is %q, want %q", user, line, want)
		}
	}
}
