package sources_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"gitlab.com/skerry/skerry/internal/stage/stagetest"
)

// attack is a job's view of the place where it plants something.
type attack struct {
	t       *testing.T
	base    string
	dir     string // the work tree, two levels below base
	sha     string // what the next job wants
	outside string // a directory that nobody may write to
	evil    string // a program that nobody may run
	mark    string // what it makes
}

func newAttack(t *testing.T, sha string) *attack {
	t.Helper()
	tmp := t.TempDir()
	a := &attack{t: t, base: filepath.Join(tmp, "builds"), sha: sha, outside: filepath.Join(tmp, "outside"),
		evil: filepath.Join(tmp, "evil"), mark: filepath.Join(tmp, "mark")}
	a.dir = filepath.Join(a.base, "group", "project")
	stagetest.WriteFile(t, filepath.Join(a.outside, "file"), "untouched")
	stagetest.WriteFile(t, a.evil, "#!/bin/sh\n{ echo \"$0 $*\"; env; } >>"+a.mark+"\ncat\n")
	if err := os.Chmod(a.evil, 0o755); err != nil {
		t.Fatal(err)
	}
	return a
}

// config is everything in a git configuration that runs a program.
func (a *attack) config() string {
	return strings.ReplaceAll(`
[core]
	fsmonitor = EVIL
	hooksPath = /nowhere
	sshCommand = EVIL
	pager = EVIL
	editor = EVIL
	askPass = EVIL
	gitProxy = EVIL
	attributesFile = /dev/null
	alternateRefsCommand = EVIL
[filter "evil"]
	smudge = EVIL
	clean = EVIL
	process = EVIL
	required = true
[diff "evil"]
	textconv = EVIL
	command = EVIL
[diff]
	external = EVIL
[credential]
	helper = EVIL
[uploadpack]
	packObjectsHook = EVIL
[alias]
	status = !EVIL
	fetch = !EVIL
[gpg]
	program = EVIL
[submodule "evil"]
	update = !EVIL
	active = true
`, "EVIL", a.evil)
}

// repository is a repository of the attacker, with the same content of all that matters and hooks and configuration of his own.
func (a *attack) repository() string {
	repo := filepath.Join(filepath.Dir(a.outside), "theirs", ".git")
	if err := os.MkdirAll(filepath.Dir(repo), 0o755); err != nil {
		a.t.Fatal(err)
	}
	git(a.t, ".", "clone", "-q", "--no-hardlinks", a.dir, filepath.Dir(repo))
	f, err := os.OpenFile(filepath.Join(repo, "config"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		a.t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(a.config()); err != nil {
		a.t.Fatal(err)
	}
	for _, h := range []string{"post-checkout", "reference-transaction", "post-index-change"} {
		if err := os.Symlink(a.evil, filepath.Join(repo, "hooks", h)); err != nil {
			a.t.Fatal(err)
		}
	}
	return repo
}

func (a *attack) path(name string) string { return filepath.Join(a.dir, name) }

func (a *attack) git(args ...string) string { return git(a.t, a.dir, args...) }

func (a *attack) write(name, content string) {
	a.t.Helper()
	stagetest.WriteFile(a.t, a.path(name), content)
}

func (a *attack) append(name, content string) {
	a.t.Helper()
	a.write(name, stagetest.ReadFile(a.t, a.path(name))+content)
}

func (a *attack) remove(name string) {
	a.t.Helper()
	if err := os.RemoveAll(a.path(name)); err != nil {
		a.t.Fatal(err)
	}
}

func (a *attack) link(target, name string) {
	a.t.Helper()
	if err := os.MkdirAll(filepath.Dir(a.path(name)), 0o755); err != nil {
		a.t.Fatal(err)
	}
	if err := os.Symlink(target, a.path(name)); err != nil {
		a.t.Fatal(err)
	}
}

func (a *attack) pipe(name string) {
	a.t.Helper()
	if err := syscall.Mkfifo(a.path(name), 0o644); err != nil {
		a.t.Fatal(err)
	}
}

// check fails the test when the program ran or something outside was touched.
func (a *attack) check() {
	a.t.Helper()
	if b, err := os.ReadFile(a.mark); err == nil {
		a.t.Errorf("the planted program ran:\n%s", b)
		if strings.Contains(string(b), testToken) {
			a.t.Error("and it saw the token")
		}
	}
	entries, err := os.ReadDir(a.outside)
	if err != nil {
		a.t.Fatal(err)
	}
	names := slices.DeleteFunc(entries, func(e os.DirEntry) bool { return e.Name() == "project" })
	if len(names) != 1 || stagetest.ReadFile(a.t, filepath.Join(a.outside, "file")) != "untouched" {
		a.t.Errorf("something outside was touched: %v", entries)
	}
	for _, file := range []string{".git/objects/info/alternates", ".git/objects/info/http-alternates", ".git/commondir", ".git/modules/evil"} {
		if _, err := os.Lstat(a.path(file)); err == nil {
			a.t.Errorf("%s is still there", file)
		}
	}
	for _, sub := range []string{".git/objects", ".git", ".", ".."} {
		if st, err := os.Lstat(a.path(sub)); err != nil || !st.IsDir() {
			a.t.Errorf("%s is no directory", sub)
		}
	}
}
