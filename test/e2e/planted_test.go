package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
	"gitlab.com/skerry/skerry/internal/gitlab/jobpayload"
)

// plants are what a job can leave in its project's directory for the next job to run over. $EVIL is a
// program that leaves a canary, with all it can learn from environment, arguments and configuration;
// $REPO is a whole repository outside whose configuration and hooks run $EVIL too.
func plants() map[string]string {
	const settings = `
[core]
	hooksPath = '"$HOOKS"'
	fsmonitor = '"$EVIL"'
	sshCommand = '"$EVIL"'
	pager = '"$EVIL"'
[filter "evil"]
	clean = '"$EVIL"'
	smudge = '"$EVIL"'
	process = '"$EVIL"'
	required = true
[credential]
	helper = '"$EVIL"'
[diff]
	external = '"$EVIL"'
[remote "origin"]
	uploadpack = '"$EVIL"'
[url "ext::'"$EVIL"' "]
	insteadOf = http
[include]
	path = '"$REPO"'/config
`
	return map[string]string{
		"hooks": `mkdir -p .git/hooks; for h in post-checkout post-merge pre-auto-gc reference-transaction fsmonitor-watchman
			do ln -sf $EVIL .git/hooks/$h; done`,
		"settings and attributes": "printf %s '" + settings + "' >> .git/config; mkdir -p .git/info; echo '* filter=evil' > .git/info/attributes",
		"commondir":               "echo $REPO > .git/commondir",
		"a gitfile":               "rm -rf .git; echo gitdir: $REPO > .git",
		"a linked .git":           "rm -rf .git; ln -s $REPO .git",
		"alternates":              "mkdir -p .git/objects/info; echo $REPO/objects > .git/objects/info/alternates",
		"linked objects":          "rm -rf .git/objects; ln -s $REPO/objects .git/objects",
		"a linked project":        `cd ..; mv project elsewhere; mkdir $OUT/project; cp -R elsewhere/. $OUT/project; ln -s $OUT/project project`,
		"a project that is a repository of somebody else": `cd ..; rm -rf project; ln -s $REPO project`,
		"modules": "mkdir -p .git/modules; cp -R $REPO .git/modules/sub; ln -s $REPO .git/modules/other; printf '[submodule \"sub\"]\\n\\tpath = sub\\n\\turl = ext::%s\\n\\tupdate = !%s\\n\\tactive = true\\n' $EVIL $EVIL >> .git/config",
		// Another content under the name of a file's object, once all objects are files.
		"a poisoned object": `mv .git/objects/pack pack; for p in pack/*.pack; do git unpack-objects -q < $p; done; rm -rf pack
			object() { echo ".git/objects/$(echo $1 | cut -c 1-2)/$(echo $1 | cut -c 3-)"; }
			cp -f $(object $(echo evil | git hash-object -w --stdin)) $(object $(git rev-parse HEAD:README)); test "$(git show HEAD:README)" = evil`,
		"a hidden change":       "echo planted > README; git update-index --assume-unchanged README",
		"worktree settings":     "printf '[extensions]\\n\\tworktreeConfig = true\\n' >> .git/config; cp $REPO/config .git/config.worktree",
		"a nested repository":   "mkdir nested; cp -R $REPO nested/.git",
		"replaced tools' files": "ln -sf $EVIL git; ln -sf $EVIL sh; ln -sf $EVIL env; printf 'PATH=.\\n' > .env",
	}
}

// bites says which plants git itself falls for at once: there the first job looks whether the program runs, so
// that a plant which has no effect is noticed.
func bites() map[string]bool {
	return map[string]bool{
		"hooks": true, "settings and attributes": true, "commondir": true, "a gitfile": true, "a linked .git": true, "worktree settings": true,
	}
}

// evil makes the program, its hooks directory and the repository of plants, and returns the lines that
// tell a script of them.
func evil(t *testing.T) (lines []string, canary, out string) {
	t.Helper()
	dir := t.TempDir()
	canary, out = filepath.Join(dir, "canary"), filepath.Join(dir, "out")
	program := filepath.Join(dir, "evil")
	script := "#!/bin/sh\n{ echo \"$0 $*\"; env; cat .git/config; } >> " + canary + " 2>&1\nexit 1\n"
	if err := os.WriteFile(program, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{out, filepath.Join(dir, "hooks")} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, hook := range []string{"post-checkout", "post-index-change", "reference-transaction", "pre-auto-gc"} {
		if err := os.Symlink(program, filepath.Join(dir, "hooks", hook)); err != nil {
			t.Fatal(err)
		}
	}
	return append([]string{
		"export EVIL=" + program, "export HOOKS=" + filepath.Join(dir, "hooks"), "export OUT=" + out, "export REPO=" + filepath.Join(dir, "repo"),
	}, evilRepository()...), canary, out
}

// evilRepository are script lines that make the repository of plants.
func evilRepository() []string {
	return []string{
		"git clone -q --bare . $REPO", "git -C $REPO config core.bare false", "git -C $REPO config core.fsmonitor $EVIL",
		"git -C $REPO config core.hooksPath $HOOKS", "git -C $REPO config credential.helper $EVIL",
		"git -C $REPO config filter.evil.smudge $EVIL", "mkdir -p $REPO/info", "echo '* filter=evil' > $REPO/info/attributes",
	}
}

// TestPlantedRepositories runs a job that plants something in its project's directory, and then another
// of the same project, which gets the same directory: nothing planted is run, nothing planted or outside learns
// the token, and the sources are those of the commit.
func TestPlantedRepositories(t *testing.T) {
	t.Parallel()
	co := withProject(t, gitlabtest.Options{})
	for name, plant := range plants() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRunner(t, co) // an installation, and so a builds_dir, of its own
			runner := gitlabtest.RunnerSpec{Tags: []string{strings.ReplaceAll(name, " ", "-")}, TaggedOnly: true}
			r.editConfig(r.token, co.AddRunner(runner).Token)
			r.start()
			lines, canary, out := evil(t)
			lines = append(lines, plant)
			if bites()[name] {
				lines = append(lines, "git status > /dev/null 2>&1 || true", "git checkout -q -f --detach HEAD > /dev/null 2>&1 || true", "test -s "+canary)
			}
			j, log := r.wait(r.add(gitlabtest.JobSpec{
				Project: "group/project", Tags: runner.Tags, Script: append(lines, "rm -f "+canary),
			}))
			want(t, j, log, gitlabtest.StatusSuccess, "")

			j, log = r.wait(r.add(gitlabtest.JobSpec{
				Project: "group/project", Tags: runner.Tags,
				Variables: []jobpayload.Variable{{Key: "GIT_SUBMODULE_STRATEGY", Value: "recursive", Public: true}},
				// What git itself is asked here runs with what the directory holds now: nothing of it may be planted.
				Script: []string{
					`test "$(cat README)" = hello`, `test "$(pwd -P)" = "$CI_PROJECT_DIR"`, `test ! -e nested`,
					`git status --porcelain`, `test -z "$(git status --porcelain)"`,
					`test "$(git rev-parse HEAD)" = "$CI_COMMIT_SHA"`, `git fsck --connectivity-only`, `git log -1 --format=%s`,
				},
			}))
			want(t, j, log, gitlabtest.StatusSuccess, "")
			contains(t, log, "01O First")
			if b, err := os.ReadFile(canary); err == nil {
				t.Errorf("something planted was run:\n%s", b)
			}
			for _, dir := range []string{filepath.Dir(out), filepath.Join(r.dir, "builds")} {
				for _, file := range holding(t, dir, j.Token) {
					t.Errorf("the second job's token is left in %s", file)
				}
			}
		})
	}
}

// holding lists the files below dir that hold the text.
func holding(t *testing.T, dir, text string) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil //nolint:nilerr // it went away meanwhile
		}
		if b, err := os.ReadFile(path); err == nil && strings.Contains(string(b), text) {
			files = append(files, fmt.Sprintf("%q", path))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
