package files_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/stage"
	"gitlab.com/skerry/skerry/internal/stage/files"
	"gitlab.com/skerry/skerry/internal/stage/stagetest"
	"gitlab.com/skerry/skerry/internal/stage/task"
)

// tree makes a project of files; a name that ends in a slash is a directory, "a->b" a link.
func tree(t *testing.T, names ...string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "project")
	for _, name := range append([]string{"./"}, names...) {
		p := filepath.Join(dir, name)
		link, target, isLink := strings.Cut(name, "->")
		var err error
		switch {
		case isLink:
			err = os.Symlink(target, filepath.Join(dir, link))
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(p, 0o755)
		default:
			stagetest.WriteFile(t, p, "content of "+name)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// chosen runs a selection and returns the names and the log without padding and colours.
func chosen(t *testing.T, dir string, f stage.Files) (names []string, log string) {
	t.Helper()
	p := stagetest.New(t)
	tk := &task.Task{Spec: &stage.Spec{Dir: dir}, Place: p.Place, Log: task.Log{Out: p.Out}, Env: task.NewEnv(os.Environ(), nil)}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	names, _, err = files.Choose(t.Context(), tk, root, f)
	if err != nil {
		t.Fatal(err)
	}
	return names, plainLog(p.Out.String(), dir)
}

// plainLog takes colours and padding out of a log and writes DIR for the project directory.
func plainLog(s, dir string) string {
	s = strings.NewReplacer(task.BoldGreen, "", task.BoldRed, "", task.Yellow, "", task.Reset, "", dir, "DIR").Replace(s)
	var b strings.Builder
	for line := range strings.Lines(s) {
		b.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
	return b.String()
}

func TestChoose(t *testing.T) {
	t.Parallel()
	project := []string{"a.txt", "b.log", "src/x.go", "src/y.go", "src/sub/z.go", "empty/", "link->a.txt", "dirlink->src",
		"out->/etc", "sp ace/[odd]"}
	const none = "no matching files. Ensure that the artifact path is relative to the working directory (DIR)\n"
	tests := map[string]struct {
		files stage.Files
		want  []string
		log   string
	}{
		"file":      {stage.Files{Paths: []string{"a.txt"}}, []string{"a.txt"}, "a.txt: found 1 matching artifact files and directories\n"},
		"missing":   {stage.Files{Paths: []string{"nope"}}, nil, "WARNING: nope: " + none},
		"empty":     {stage.Files{Paths: []string{""}}, nil, "WARNING: No matching files. Path is empty.\n"},
		"directory": {stage.Files{Paths: []string{"src/"}}, []string{"src", "src/sub", "src/sub/z.go", "src/x.go", "src/y.go"}, "src/: found 5 matching artifact files and directories\n"},
		"glob":      {stage.Files{Paths: []string{"*.txt", "src/*.go"}}, []string{"a.txt", "src/x.go", "src/y.go"}, "*.txt: found 1 matching artifact files and directories\nsrc/*.go: found 2 matching artifact files and directories\n"},
		// Each match is walked, so that files below several matches count several times.
		"doublestar":       {stage.Files{Paths: []string{"src/**"}}, []string{"src", "src/sub", "src/sub/z.go", "src/x.go", "src/y.go"}, "src/**: found 10 matching artifact files and directories\n"},
		"doublestar files": {stage.Files{Paths: []string{"**/*.go"}}, []string{"src/sub/z.go", "src/x.go", "src/y.go"}, "**/*.go: found 3 matching artifact files and directories\n"},
		"exclude":          {stage.Files{Paths: []string{"src"}, Exclude: []string{"src/**/*.go", "*.log"}}, []string{"src", "src/sub"}, "src: found 2 matching artifact files and directories\nsrc/**/*.go: excluded 3 files\n"},
		"link":             {stage.Files{Paths: []string{"link", "dirlink"}}, []string{"dirlink", "link"}, "link: found 1 matching artifact files and directories\ndirlink: found 1 matching artifact files and directories\n"},
		"through link":     {stage.Files{Paths: []string{"out/passwd", "out/*"}}, nil, "WARNING: out/passwd: " + none + "WARNING: out/*: " + none},
		"outside":          {stage.Files{Paths: []string{"../x"}}, nil, "WARNING: processPath: artifact path is not a subpath of project directory: ../x\n"},
		"absolute outside": {stage.Files{Paths: []string{"/etc/passwd"}}, nil, "WARNING: processPath: artifact path is not a subpath of project directory: /etc/passwd\n"},
		"odd name":         {stage.Files{Paths: []string{"sp ace/*"}}, []string{"sp ace/[odd]"}, "sp ace/*: found 1 matching artifact files and directories\n"},
		"bad pattern":      {stage.Files{Paths: []string{"[a"}}, nil, "WARNING: [a: syntax error in pattern\n"},
		"twice":            {stage.Files{Paths: []string{"a.txt", "./a.txt"}}, []string{"a.txt"}, "a.txt: found 1 matching artifact files and directories\n./a.txt: found 1 matching artifact files and directories\n"},
		"empty directory":  {stage.Files{Paths: []string{"empty"}}, []string{"empty"}, "empty: found 1 matching artifact files and directories\n"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			names, log := chosen(t, tree(t, project...), tt.files)
			if diff := cmp.Diff(tt.want, names, cmpEmpty); diff != "" {
				t.Errorf("files differ (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.log, log); diff != "" {
				t.Errorf("log differs (-want +got):\n%s", diff)
			}
		})
	}
}

var cmpEmpty = cmp.Transformer("empty", func(s []string) []string {
	if len(s) == 0 {
		return nil
	}
	return append([]string{"files:"}, s...)
})

func TestChooseAbsolute(t *testing.T) {
	t.Parallel()
	dir := tree(t, "a.txt", "src/x.go")
	names, log := chosen(t, dir, stage.Files{Paths: []string{dir + "/src/*", dir}})
	if diff := cmp.Diff([]string{".", "a.txt", "src", "src/x.go"}, names); diff != "" {
		t.Errorf("files differ (-want +got):\n%s", diff)
	}
	want := "DIR/src/*: found 1 matching artifact files and directories\nDIR: found 4 matching artifact files and directories\n"
	if diff := cmp.Diff(want, log); diff != "" {
		t.Errorf("log differs (-want +got):\n%s", diff)
	}
}

// gitInit makes dir a repository that tracks the files named.
func gitInit(t *testing.T, dir string, tracked ...string) {
	t.Helper()
	for _, args := range [][]string{{"init", "-q"}, append([]string{"add", "--"}, tracked...)} {
		cmd := exec.Command("git", args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
}

func TestChooseUntracked(t *testing.T) {
	t.Parallel()
	dir := tree(t, "tracked", "new", "deep/new", "ignored.o", "ü\nnew")
	stagetest.WriteFile(t, filepath.Join(dir, ".gitignore"), "*.o\n")
	gitInit(t, dir, "tracked", ".gitignore")
	names, log := chosen(t, dir, stage.Files{Untracked: true, Exclude: []string{"deep/*"}})
	if diff := cmp.Diff([]string{"ignored.o", "new", "ü\nnew"}, names); diff != "" {
		t.Errorf("files differ (-want +got):\n%s", diff)
	}
	if want := "untracked: found 3 files\ndeep/*: excluded 1 files\n"; log != want {
		t.Errorf("log = %q, want %q", log, want)
	}
}

func TestChooseUntrackedRunsNothing(t *testing.T) {
	t.Parallel()
	dir := tree(t, "tracked", "new")
	gitInit(t, dir, "tracked")
	canary := filepath.Join(t.TempDir(), "canary")
	hook := filepath.Join(t.TempDir(), "hook")
	if err := os.WriteFile(hook, []byte("#!/bin/sh\ntouch "+canary+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	stagetest.WriteFile(t, filepath.Join(dir, ".git/config"), "[core]\n\tfsmonitor = "+hook+"\n\thooksPath = /nowhere\n[alias]\n\tls-files = !"+hook+"\n")
	if names, log := chosen(t, dir, stage.Files{Untracked: true}); len(names) != 1 {
		t.Errorf("files = %q, log:\n%s", names, log)
	}
	if _, err := os.Lstat(canary); err == nil {
		t.Error("the project's configuration made git run a program")
	}
}

func TestChooseUntrackedWithoutRepository(t *testing.T) {
	t.Parallel()
	names, log := chosen(t, tree(t, "new"), stage.Files{Untracked: true})
	if len(names) != 0 || !strings.Contains(log, "WARNING: untracked: exit status 128") {
		t.Errorf("files = %q, log:\n%s", names, log)
	}
}

// Names are bytes: what is not UTF-8 is found, too, below such a directory as well.
func TestChooseOddNames(t *testing.T) {
	t.Parallel()
	dir := tree(t, "d\xff/x.txt", "d\xff/sub/\xfe.txt", "n\n/x.txt")
	for pattern, want := range map[string][]string{
		"**/*.txt":  {"d\xff/sub/\xfe.txt", "d\xff/x.txt", "n\n/x.txt"},
		"d\xff":     {"d\xff", "d\xff/sub", "d\xff/sub/\xfe.txt", "d\xff/x.txt"},
		"d\xff/*.*": {"d\xff/x.txt"},
		"*/x.txt":   {"d\xff/x.txt", "n\n/x.txt"},
	} {
		names, _ := chosen(t, dir, stage.Files{Paths: []string{pattern}})
		if diff := cmp.Diff(want, names, cmpEmpty); diff != "" {
			t.Errorf("%q (-want +got):\n%s", pattern, diff)
		}
	}
}
