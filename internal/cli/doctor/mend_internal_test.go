package doctor

import (
	"bufio"
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/cli/doctor/finding"
	"gitlab.com/skerry/skerry/internal/cli/doctor/host"
	"gitlab.com/skerry/skerry/internal/cli/program"
)

// patient is a command line with a patient: a file that should be there.
func patient(t *testing.T, answers string, mend ...finding.Command) (d *doctor, l looked, said *bytes.Buffer) {
	t.Helper()
	said = &bytes.Buffer{}
	p := program.New([]string{"skerry"}, program.Streams{In: strings.NewReader(answers), Out: said, Err: said}, program.Build{})
	d = &doctor{program: p, fix: true, answers: bufio.NewReader(p.Streams.In)}
	file := filepath.Join(t.TempDir(), "file")
	for i := range mend {
		for j := range mend[i] {
			mend[i][j] = strings.ReplaceAll(mend[i][j], "FILE", file)
		}
	}
	l.Check = finding.Check{Name: "file", Look: func(context.Context) finding.Result {
		if _, err := os.Stat(file); err == nil {
			return finding.OK("it is there")
		}
		return finding.Result{Severity: finding.Failure, What: "it is not there", Why: "it is wanted", Mend: mend}
	}}
	l.Result = l.Look(t.Context())
	return d, l, said
}

func TestMend(t *testing.T) {
	t.Parallel()
	touch := func() finding.Command { return finding.Command{"touch", "FILE"} }
	for name, c := range map[string]struct {
		answers    string
		yes        bool
		loses      string
		mend       []finding.Command
		mended     bool
		said, nots string
	}{
		"yes":                  {answers: "y\n", mend: []finding.Command{touch()}, mended: true, said: "file` [y/N]"},
		"Yes":                  {answers: " YES \n", mend: []finding.Command{touch()}, mended: true},
		"no":                   {answers: "n\n", mend: []finding.Command{touch()}, nots: "Running"},
		"anything":             {answers: "sure\n", mend: []finding.Command{touch()}, nots: "Running"},
		"nothing":              {mend: []finding.Command{touch()}, nots: "Running"},
		"not asked":            {yes: true, mend: []finding.Command{touch()}, mended: true, nots: "[y/N]"},
		"the first fails":      {yes: true, mend: []finding.Command{{"false"}, touch()}, said: "The command failed"},
		"the last fails":       {yes: true, mend: []finding.Command{touch(), {"false"}}, mended: true, said: "The command failed"},
		"no such program":      {yes: true, mend: []finding.Command{{"/no/such/program"}, touch()}, said: "no such file"},
		"it does not help":     {yes: true, mend: []finding.Command{{"true"}}, said: "it is not there"},
		"loses":                {answers: "y\n", loses: "all images", mend: []finding.Command{touch()}, mended: true, said: "This loses all images."},
		"loses, and not asked": {yes: true, loses: "all images", mend: []finding.Command{touch()}, nots: "Running", said: "left as it is"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, l, said := patient(t, c.answers, c.mend...)
			d.yes, l.Loses = c.yes, c.loses
			if err := d.mend(t.Context(), &l); err != nil {
				t.Fatal(err)
			}
			if l.Mended != c.mended || (l.Severity == finding.Fine) != c.mended {
				t.Errorf("%+v:\n%s", l, said)
			}
			if text := strings.ReplaceAll(said.String(), "`?", "`"); !strings.Contains(text, c.said) || c.nots != "" && strings.Contains(text, c.nots) {
				t.Error(text)
			}
		})
	}
}

// TestMendBeyondPath has a command that is where root's programs are, which the PATH of root by su does not name.
func TestMendBeyondPath(t *testing.T) {
	t.Parallel()
	d, l, said := patient(t, "", finding.Command{"usermod-of-doctor", "FILE"})
	sbin := t.TempDir()
	syscall.ForkLock.RLock()                                                                                  // a process that another test is starting just now must not have it open for writing
	err := os.WriteFile(filepath.Join(sbin, "usermod-of-doctor"), []byte("#!/bin/sh\ntouch \"$1\"\n"), 0o755) //nolint:gosec // a program
	syscall.ForkLock.RUnlock()
	if err != nil {
		t.Fatal(err)
	}
	d.yes, d.machine = true, host.Machine{Root: "/", Path: sbin}
	if err := d.mend(t.Context(), &l); err != nil {
		t.Fatal(err)
	}
	if !l.Mended {
		t.Error(said)
	}
}

// TestMendLeavesAService has a command leave something behind that keeps its output open, as engines do.
func TestMendLeavesAService(t *testing.T) {
	t.Parallel()
	pid := filepath.Join(t.TempDir(), "pid")
	d, l, _ := patient(t, "", finding.Command{"sh", "-c", "sleep 600 & echo $! >" + pid + "; touch FILE"})
	t.Cleanup(func() {
		text, _ := os.ReadFile(pid)
		if n, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
			_ = syscall.Kill(n, syscall.SIGKILL)
		}
	})
	d.yes = true
	began := time.Now()
	if err := d.mend(t.Context(), &l); err != nil || !l.Mended {
		t.Error(err, l)
	}
	if took := time.Since(began); took > 5*time.Minute {
		t.Errorf("it waited %s for the service", took)
	}
}

func TestShow(t *testing.T) {
	t.Parallel()
	bad := looked{
		Check: finding.Check{Name: "subuid", About: "user ci"},
		Result: finding.Result{
			Severity: finding.Warning, What: "\x1b[2Jfew", Why: "because", Mend: []finding.Command{{"a", "b c"}, {"d"}}, Loses: "all", Advice: "then rest",
		},
	}
	d, _, said := patient(t, "")
	d.show(bad)
	d.show(looked{Check: finding.Check{Name: "ip_forward"}, Result: finding.OK("fine")})
	want := "warning  subuid         user ci: ?[2Jfew\n" +
		"           why          because\n" +
		"           mend         a 'b c' && d  (this loses all)  (then rest)\n" +
		"ok       ip_forward     fine\n"
	if said.String() != want {
		t.Errorf("got\n%s, want\n%s", said, want)
	}
	said.Reset()
	d.color = true
	d.show(bad)
	if got, want := said.String(), "\x1b[33mwarning\x1b[0m  subuid "; !strings.HasPrefix(got, want) {
		t.Errorf("%q", got)
	}
}
