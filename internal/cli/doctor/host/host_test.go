package host_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gitlab.com/skerry/skerry/internal/cli/doctor/finding"
	"gitlab.com/skerry/skerry/internal/cli/doctor/host"
)

// files are those of a prepared machine: path to content, and, after a space in the path, the mode in octal digits.
type files map[string]string

// machine is a directory prepared to be one, looked at by root.
func machine(t *testing.T, f files) host.Machine {
	t.Helper()
	root := t.TempDir()
	for path, text := range f {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(text, "/") {
			if err := os.MkdirAll(path, 0o755); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil { //nolint:gosec // some are programs
			t.Fatal(err)
		}
	}
	return host.Machine{Root: root}
}

// ci is the account that tests are about. Nobody else has its ids.
func ci() host.Account {
	return host.Account{Name: "ci", UID: 61234, Home: "/home/ci", Groups: []int{61234}}
}

// want looks and compares: severity, a part of what, and the line of commands, or, where there are none, a part of the advice.
func want(t *testing.T, c finding.Check, severity finding.Severity, what, mend string) {
	t.Helper()
	got := c.Look(t.Context())
	line := finding.Line(got.Mend)
	if line == "" && mend != "" && strings.Contains(got.Advice, mend) {
		line = mend
	}
	if got.Severity != severity || !strings.Contains(got.What, what) || line != mend {
		t.Errorf("%s is %s: %q, mended by %q (%s), want %s: %q, mended by %q", c.Name, got.Severity, got.What, finding.Line(got.Mend), got.Advice, severity, what, mend)
	}
	if bad := severity > finding.Fine; bad != (got.Why != "") || bad != (got.Advice != "" || len(got.Mend) > 0) || strings.Contains(got.What+got.Why+got.Advice, "\n") {
		t.Errorf("%s: every finding that is wrong says why, and what to do, each in a line: %+v", c.Name, got)
	}
}

func TestInstall(t *testing.T) {
	t.Parallel()
	for release, want := range map[string]string{
		"ID=debian\n":                            "sudo apt-get install -y uidmap",
		"NAME=x\nID=ubuntu\nID_LIKE=debian\n":    "sudo apt-get install -y uidmap",
		"ID=\"rocky\"\nID_LIKE=\"rhel centos\"":  "sudo dnf install -y shadow-utils",
		"ID=\"opensuse-leap\"\nID_LIKE=\"suse\"": "sudo zypper --non-interactive install shadow",
		"ID=alpine":                              "sudo apk add shadow-uidmap",
		"ID=plan9":                               "",
	} {
		m := machine(t, files{"etc/os-release": release})
		m.UID = 1
		if got := finding.Line(m.Install("uidmap", "shadow-utils", "shadow", "shadow", "shadow-uidmap")); got != want {
			t.Errorf("%q: %q, want %q", release, got, want)
		}
	}
}

func TestAs(t *testing.T) {
	t.Parallel()
	for uid, want := range map[int]string{
		0:     "runuser -u ci -- env HOME=/home/ci podman info",
		61234: "podman info",
		7:     "sudo runuser -u ci -- env HOME=/home/ci podman info",
	} {
		if got := (host.Machine{Root: t.TempDir(), UID: uid}).As(ci(), "podman", "info").String(); got != want {
			t.Errorf("as %d: %q, want %q", uid, got, want)
		}
	}
	m := machine(t, files{"run/user/61234": "/"})
	if got, want := m.As(ci(), "podman", "info").String(), "runuser -u ci -- env HOME=/home/ci XDG_RUNTIME_DIR=/run/user/61234 podman info"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
