package peer_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"gitlab.com/skerry/skerry/internal/cli/doctor/finding"
	"gitlab.com/skerry/skerry/internal/cli/doctor/host"
)

// want looks and compares: severity, a part of what, and a part of what mends it. It returns what was found.
func want(t *testing.T, c finding.Check, severity finding.Severity, what, mend string) finding.Result {
	t.Helper()
	got := c.Look(t.Context())
	if todo := finding.Line(got.Mend) + got.Advice; got.Severity != severity || !strings.Contains(got.What, what) || !strings.Contains(todo, mend) {
		t.Errorf("%s is %s: %q, mended by %q, want %s: %q, mended by %q", c.Name, got.Severity, got.What, todo, severity, what, mend)
	}
	if bad := severity > finding.Fine; bad != (got.Why != "") || bad != (got.Advice != "" || len(got.Mend) > 0) || strings.Contains(got.What+got.Why+got.Advice, "\n") {
		t.Errorf("%s: every finding that is wrong says why, and what to do, each in a line: %+v", c.Name, got)
	}
	return got
}

// do runs the commands of a result, with paths of the machine's replaced by a test's.
func do(t *testing.T, r finding.Result, replace ...string) {
	t.Helper()
	line := strings.NewReplacer(replace...).Replace(finding.Line(r.Mend))
	cmd := exec.CommandContext(t.Context(), "sh", "-c", line)
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0) // what a command leaves behind keeps nothing open
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	cmd.Stdout, cmd.Stderr = null, null
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
}

// program writes a script that can be executed at once: a process that another test is starting just now must not have it
// open for writing.
func program(t *testing.T, path, script string) {
	t.Helper()
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
}

// here is this machine.
func here() host.Machine {
	return host.Machine{Root: "/", UID: os.Getuid(), Path: os.Getenv("PATH")}
}

// elsewhere is a machine with nothing but some empty programs.
func elsewhere(t *testing.T, programs ...string) host.Machine {
	t.Helper()
	m := host.Machine{Root: t.TempDir(), UID: os.Getuid()}
	if err := os.MkdirAll(filepath.Join(m.Root, "usr/bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, p := range programs {
		if err := os.WriteFile(filepath.Join(m.Root, "usr/bin", p), nil, 0o755); err != nil { //nolint:gosec // a program
			t.Fatal(err)
		}
	}
	return m
}

// booted has systemd run a machine.
func booted(t *testing.T, m host.Machine) host.Machine {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(m.Root, "run/systemd/system"), 0o755); err != nil {
		t.Fatal(err)
	}
	return m
}
