package script_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/stage"
	"gitlab.com/skerry/skerry/internal/stage/stagetest"
	"gitlab.com/skerry/skerry/internal/stage/task"
	"gitlab.com/skerry/skerry/internal/stage/worker"
)

// shells are the shells that scripts must work in: name in the test, paths offered to the stage.
func shells(t *testing.T) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	for _, name := range []string{"bash", "dash"} {
		p, err := exec.LookPath(name)
		if err != nil {
			t.Fatalf("these tests need %s: %v", name, err)
		}
		found[name] = []string{p}
	}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatalf("these tests need busybox (apt-get install busybox-static): %v", err)
	}
	dir := t.TempDir()
	for name, target := range map[string]string{"dash": found["dash"][0], "ash": busybox} {
		link := filepath.Join(dir, name, "sh")
		if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, link); err != nil {
			t.Fatal(err)
		}
		found[name] = []string{link}
	}
	return found
}

func TestScript(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		script stage.Script
		spec   stage.Spec
		want   string // output, "%SHELL%: " and line numbers of messages excluded by the scripts themselves
		code   int
	}{
		"echo": {script: stage.Script{Lines: []string{"echo hi", "", "  echo $((1+1))  "}},
			want: "\x1b[32;1m$ echo hi\x1b[0;m\nhi\n\n\x1b[32;1m$ echo $((1+1))\x1b[0;m\n2\n"},
		"stops": {script: stage.Script{Lines: []string{"false", "echo no"}}, want: "\x1b[32;1m$ false\x1b[0;m\n", code: 1},
		"exit":  {script: stage.Script{Lines: []string{"exit 3"}}, want: "\x1b[32;1m$ exit 3\x1b[0;m\n", code: 3},
		"last":  {script: stage.Script{Lines: []string{"false && true"}}, want: "\x1b[32;1m$ false && true\x1b[0;m\n", code: 1},
		"not last": {script: stage.Script{Lines: []string{"false && true", ":"}},
			want: "\x1b[32;1m$ false && true\x1b[0;m\n\x1b[32;1m$ :\x1b[0;m\n"},
		"signal": {script: stage.Script{Lines: []string{"kill -TERM $$"}}, want: "\x1b[32;1m$ kill -TERM $$\x1b[0;m\n", code: 143},
		"child's signal": {script: stage.Script{Lines: []string{"exec 2>/dev/null; sh -c 'kill -KILL $$'"}},
			want: "\x1b[32;1m$ exec 2>/dev/null; sh -c 'kill -KILL $$'\x1b[0;m\n", code: 137},
		"lines": {script: stage.Script{Lines: []string{"for i in 1 2\ndo echo $i\ndone"}},
			want: "\x1b[32;1m$ for i in 1 2 # collapsed multi-line command\x1b[0;m\n1\n2\n"},
		"one shell": {script: stage.Script{Lines: []string{"X=1; cd /", "echo $X$PWD"}},
			want: "\x1b[32;1m$ X=1; cd /\x1b[0;m\n\x1b[32;1m$ echo $X$PWD\x1b[0;m\n1/\n"},
		"stdin": {script: stage.Script{Lines: []string{"cat", "readlink /proc/self/fd/0", "test ! -e /proc/$$/fd/3"}},
			want: "\x1b[32;1m$ cat\x1b[0;m\n\x1b[32;1m$ readlink /proc/self/fd/0\x1b[0;m\n/dev/null\n\x1b[32;1m$ test ! -e /proc/$$/fd/3\x1b[0;m\n"},
		"quotes": {script: stage.Script{Lines: []string{`printf '%s\n' 'it'"'"'s' "\$HOME" '\n %s'`}},
			want: "\x1b[32;1m$ printf '%s\\n' 'it'\"'\"'s' \"\\$HOME\" '\\n %s'\x1b[0;m\nit's\n$HOME\n\\n %s\n"},
		"bytes": {script: stage.Script{Lines: []string{"printf '%s' '\xff\x01\x7f\x81\x88\xc3\xa4' | od -An -tx1"}},
			want: "\x1b[32;1m$ printf '%s' '\xff\x01\x7f\x81\x88\xc3\xa4' | od -An -tx1\x1b[0;m\n ff 01 7f 81 88 c3 a4\n"},
		"check each": {script: stage.Script{Lines: []string{"set +e; false", "echo no"}, CheckEach: true},
			want: "\x1b[32;1m$ set +e; false\x1b[0;m\n", code: 1},
		"pipefail": {script: stage.Script{Lines: []string{"set -o | grep -q pipefail || exit 1", "false | true"}},
			want: "\x1b[32;1m$ set -o | grep -q pipefail || exit 1\x1b[0;m\n\x1b[32;1m$ false | true\x1b[0;m\n", code: 1},
		"pre and post": {script: stage.Script{Lines: []string{"echo $A; B=2"}}, spec: stage.Spec{Pre: []string{"A=1"}, Post: []string{"echo $B"}},
			want: "\x1b[32;1m$ A=1\x1b[0;m\n\x1b[32;1m$ echo $A; B=2\x1b[0;m\n1\n\x1b[32;1m$ echo $B\x1b[0;m\n2\n"},
		"variables": {script: stage.Script{Lines: []string{`echo "$A|$B"`}}, spec: stage.Spec{Env: []stage.Var{{Key: "A", Value: "x y\n'z"}, {Key: "B", Value: "1"}, {Key: "B", Value: "2"}}},
			want: "\x1b[32;1m$ echo \"$A|$B\"\x1b[0;m\nx y\n'z|2\n"},
		"huge variable": {script: stage.Script{Lines: []string{"echo ${#A}"}}, spec: stage.Spec{Env: []stage.Var{{Key: "A", Value: strings.Repeat("a'", 100_000)}}},
			want: "\x1b[32;1m$ echo ${#A}\x1b[0;m\n200000\n"},
		"umask": {script: stage.Script{Lines: []string{"umask"}, Umask: 0o027}, want: "\x1b[32;1m$ umask\x1b[0;m\n0027\n"},
	}
	for shell, paths := range shells(t) {
		for name, tt := range tests {
			t.Run(shell+"/"+name, func(t *testing.T) {
				t.Parallel()
				if shell == "dash" && name == "pipefail" {
					tt.want, tt.code = "\x1b[32;1m$ set -o | grep -q pipefail || exit 1\x1b[0;m\n", 1 // dash has none
				}
				p := stagetest.New(t)
				p.Shells = paths
				spec := tt.spec
				spec.ID, spec.Dir, spec.Script = "script", t.TempDir(), &tt.script
				if spec.Script.Umask == 0 {
					spec.Script.Umask = -1
				}
				res := p.Run(t, &spec)
				if diff := cmp.Diff(tt.want, p.Out.String()); diff != "" {
					t.Errorf("output (-want +got):\n%s", diff)
				}
				if res.ExitCode != tt.code || (res.Reason == stage.Success) != (tt.code == 0) {
					t.Errorf("result %+v, want exit code %d", res, tt.code)
				}
			})
		}
	}
}

func TestScriptOfTenMegabytes(t *testing.T) {
	t.Parallel()
	big := strings.Repeat(": "+strings.Repeat("x", 97)+"\n", 100_000) + "echo the end"
	for shell, paths := range shells(t) {
		t.Run(shell, func(t *testing.T) {
			t.Parallel()
			p := stagetest.New(t)
			p.Shells = paths
			res := p.Run(t, &stage.Spec{Dir: t.TempDir(), Script: &stage.Script{Lines: []string{big}, Umask: -1}})
			if !strings.HasSuffix(p.Out.String(), "command\x1b[0;m\nthe end\n") || res.Reason != stage.Success {
				t.Errorf("result %+v, output %.200q", res, p.Out.String())
			}
		})
	}
}

// The script's text is in no argument, no environment and no file that has a name.
func TestScriptIsHidden(t *testing.T) {
	t.Parallel()
	const secret = "correct-horse-battery"
	for shell, paths := range shells(t) {
		t.Run(shell, func(t *testing.T) {
			t.Parallel()
			p := stagetest.New(t)
			p.Shells = paths
			dir := t.TempDir()
			line := `tr '\0' '\n' </proc/$$/cmdline >args; tr '\0' '\n' </proc/$$/environ >env; ls -R ` + task.Quote(p.Scratch) + ` >files; set >variables # ` + secret
			if res := p.Run(t, &stage.Spec{Dir: dir, Script: &stage.Script{Lines: []string{line}, Umask: -1}}); res.Reason != stage.Success {
				t.Fatalf("result %+v, output %s", res, p.Out.String())
			}
			for _, f := range []string{"args", "env"} {
				if s := stagetest.ReadFile(t, filepath.Join(dir, f)); strings.Contains(s, secret) {
					t.Errorf("%s holds the script: %q", f, s)
				}
			}
			if s := stagetest.ReadFile(t, filepath.Join(dir, "variables")); strings.Contains(s, "\nskerry_script=") {
				t.Error("the variable that held the script is still there")
			}
			if s := stagetest.ReadFile(t, filepath.Join(dir, "files")); strings.Count(s, "\n") > 1 {
				t.Errorf("files were left in the scratch directory: %q", s)
			}
		})
	}
}

func TestScriptSections(t *testing.T) {
	t.Parallel()
	for shell, paths := range shells(t) {
		t.Run(shell, func(t *testing.T) {
			t.Parallel()
			p := stagetest.New(t)
			p.Shells = paths
			p.Run(t, &stage.Spec{Dir: t.TempDir(), Script: &stage.Script{Lines: []string{"echo 'a'\necho b"}, Sections: true, Umask: -1}})
			got := digits(p.Out.String())
			want := "section_start:N:section_script_step_0[hide_duration=true,collapsed=true]\r\x1b[0K\x1b[32;1m$ echo 'a'\necho b\x1b[0;m\n" +
				"section_end:N:section_script_step_0\r\x1b[0K\na\nb\n"
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("output (-want +got):\n%s", diff)
			}
		})
	}
}

// digits replaces the seconds since 1970 by N.
func digits(s string) string {
	for _, mark := range []string{"section_start:", "section_end:"} {
		i := strings.Index(s, mark) + len(mark)
		j := i + strings.IndexByte(s[i:], ':')
		s = s[:i] + "N" + s[j:]
	}
	return s
}

func TestScriptLogin(t *testing.T) {
	t.Parallel()
	for shell, paths := range shells(t) {
		t.Run(shell, func(t *testing.T) {
			t.Parallel()
			home, dir := t.TempDir(), filepath.Join(t.TempDir(), "a 'quoted' dir\nof -two lines")
			stagetest.WriteFile(t, filepath.Join(home, ".profile"), "FROM_PROFILE=yes; A=profile; cd /; cat\n")
			p := stagetest.New(t)
			p.Shells = paths
			res := p.Run(t, &stage.Spec{Dir: dir, Env: []stage.Var{{Key: "HOME", Value: home}, {Key: "A", Value: "job"}},
				Script: &stage.Script{Lines: []string{`echo "$FROM_PROFILE $A"; pwd >&2`}, Login: true, Umask: -1}})
			if want := "pwd >&2\x1b[0;m\nyes job\n" + dir + "\n"; !strings.HasSuffix(p.Out.String(), want) || res.Reason != stage.Success {
				t.Errorf("result %+v, output %q, want it to end in %q", res, p.Out.String(), want)
			}
		})
	}
}

func TestScriptTrace(t *testing.T) {
	t.Parallel()
	p := stagetest.New(t)
	p.Run(t, &stage.Spec{Dir: t.TempDir(), Script: &stage.Script{Lines: []string{"echo hi"}, Trace: true, Umask: -1}})
	if got := p.Out.String(); !strings.Contains(got, "+ echo hi\n") || strings.Contains(got, "skerry_script") {
		t.Errorf("output %q", got)
	}
}

func TestScriptEnvFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "job.tmp", "job.env") // in a directory that nobody has made
	lines := func(l ...string) *stage.Spec {
		return &stage.Spec{Dir: dir, Env: []stage.Var{{Key: "GITLAB_ENV", Value: file}, {Key: "A", Value: "0"}}, Script: &stage.Script{Lines: l, EnvFile: file, Umask: -1}}
	}
	p := stagetest.New(t)
	if res := p.Run(t, lines(`echo "A=1 2" >>$GITLAB_ENV; echo 'no assignment' >>$GITLAB_ENV; printf B=x=y >>$GITLAB_ENV`)); res.Reason != stage.Success {
		t.Fatal(res)
	}
	p.Out.Take()
	p.Run(t, lines(`echo "$A|$B"`))
	if got := p.Out.String(); !strings.HasSuffix(got, "\n1 2|x=y\n") || !strings.Contains(got, "1 lines of ") {
		t.Errorf("output %q", got)
	}
}

func TestScriptEnvFileIsNoFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	link := filepath.Join(dir, "job.env")
	if err := os.Symlink("/etc/passwd", link); err != nil {
		t.Fatal(err)
	}
	res := stagetest.New(t).Run(t, &stage.Spec{Dir: dir, Script: &stage.Script{Lines: []string{"true"}, EnvFile: link, Umask: -1}})
	if res.Reason != stage.System {
		t.Errorf("result %+v", res)
	}
}

func TestScriptWithoutShell(t *testing.T) {
	t.Parallel()
	p := stagetest.New(t)
	p.Shells = nil
	res := p.Run(t, &stage.Spec{Dir: t.TempDir(), Script: &stage.Script{Lines: []string{"true"}}})
	if res.Reason != stage.System || !strings.Contains(res.Message, "no bash and no sh") {
		t.Errorf("result %+v", res)
	}
}

func TestScriptCancelled(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		cause error
		want  stage.Reason
	}{"cancel": {errors.New("stop"), stage.Canceled}, "timeout": {context.DeadlineExceeded, stage.Timeout}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, dir := stagetest.New(t), t.TempDir()
			ctx, cancel := context.WithCancelCause(t.Context())
			done := make(chan stage.Result)
			go func() {
				done <- worker.Run(ctx, p.Place, &stage.Spec{Dir: dir, Grace: time.Second, Script: &stage.Script{Lines: []string{"mkfifo f; echo >f; sleep 1000"}, Umask: -1}})
			}()
			waitFor(t, filepath.Join(dir, "f"))
			_ = stagetest.ReadFile(t, filepath.Join(dir, "f")) // returns when the script has written: it runs
			cancel(tt.cause)
			if res := <-done; res.Reason != tt.want || res.Started > res.Ended {
				t.Errorf("result %+v", res)
			}
		})
	}
}

// waitFor waits until path exists.
func waitFor(t *testing.T, path string) {
	t.Helper()
	for {
		if _, err := os.Lstat(path); err == nil {
			return
		}
		if t.Context().Err() != nil {
			t.Fatal(t.Context().Err())
		}
	}
}

func TestFileVariables(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	victim := filepath.Join(base, "victim")
	stagetest.WriteFile(t, victim, "untouched")
	file := filepath.Join(base, "job.tmp", "KEY")
	if err := os.Mkdir(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(victim, file); err != nil { // planted by an earlier job
		t.Fatal(err)
	}
	p := stagetest.New(t)
	spec := &stage.Spec{Dir: filepath.Join(base, "job"), Env: []stage.Var{{Key: "KEY", Value: "secret", File: file}},
		Script: &stage.Script{Lines: []string{`cat "$KEY"; stat -c %a "$KEY" "${KEY%/*}"`}, Umask: -1}}
	p.Run(t, spec)
	if got := p.Out.String(); !strings.HasSuffix(got, "\nsecret600\n700\n") {
		t.Errorf("output %q", got)
	}
	if stagetest.ReadFile(t, victim) != "untouched" {
		t.Error("the variable was written through a link")
	}
	if res := p.Run(t, &stage.Spec{Dir: spec.Dir, Remove: &stage.Remove{Paths: []string{file, filepath.Join(base, "none")}, Project: true}}); res.Reason != stage.Success {
		t.Error(res)
	}
	for _, path := range []string{file, spec.Dir} {
		if _, err := os.Lstat(path); !os.IsNotExist(err) {
			t.Errorf("%s is still there", path)
		}
	}
}
