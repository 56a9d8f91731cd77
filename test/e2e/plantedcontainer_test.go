package e2e

import (
	"testing"

	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
	"gitlab.com/skerry/skerry/internal/gitlab/jobpayload"
)

// evilInContainer are lines that make what evil makes, in a directory of the volume that the project's next job has, too.
func evilInContainer() []string {
	return append([]string{
		"D=/builds/evil; mkdir -p $D/hooks $D/out",
		`printf '%s\n' '#!/bin/sh' '{ echo "$0 $*"; env; cat .git/config; } >> /builds/evil/canary 2>&1' 'exit 1' > $D/program; chmod 755 $D/program`,
		"for h in post-checkout post-index-change reference-transaction pre-auto-gc; do ln -s $D/program $D/hooks/$h; done",
		"export EVIL=$D/program HOOKS=$D/hooks OUT=$D/out REPO=$D/repo",
	}, evilRepository()...)
}

// TestPlantedInContainers is TestPlantedRepositories where the next job's git runs in a place of its own.
func TestPlantedInContainers(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, m machine) {
		co := m.project(t, gitlabtest.Options{})
		for name, plant := range plants() {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				r := m.runner(t, co)
				runner := gitlabtest.RunnerSpec{Tags: []string{name}, TaggedOnly: true}
				r.editConfig(r.token, co.AddRunner(runner).Token)
				r.start()
				withGit := func(p *jobpayload.Payload) { p.Image = &jobpayload.Image{Name: helper(t).Ref} }
				lines := append(evilInContainer(), plant)
				if bites()[name] {
					lines = append(lines, "git status > /dev/null 2>&1 || true", "git checkout -q -f --detach HEAD > /dev/null 2>&1 || true", "test -s /builds/evil/canary")
				}
				j, log := r.wait(r.add(gitlabtest.JobSpec{
					Project: "group/project", Tags: runner.Tags, Edit: withGit, Script: append(lines, "rm -f /builds/evil/canary"),
				}))
				want(t, j, log, gitlabtest.StatusSuccess, "")
				until(t, "the volume is free", func() bool { return len(r.environments()) == 0 })
				j, log = r.wait(r.add(gitlabtest.JobSpec{
					Project: "group/project", Tags: runner.Tags, Edit: withGit,
					Variables: []jobpayload.Variable{{Key: "GIT_SUBMODULE_STRATEGY", Value: "recursive", Public: true}},
					Script: []string{
						`if test -e /builds/evil/canary; then cat /builds/evil/canary; exit 9; fi`, `test -d /builds/evil`,
						`test "$(cat README)" = hello`, `test "$(pwd -P)" = "$CI_PROJECT_DIR"`, `test ! -e nested`,
						`git status --porcelain`, `test -z "$(git status --porcelain)"`,
						`test "$(git rev-parse HEAD)" = "$CI_COMMIT_SHA"`, `git fsck --connectivity-only`, `git log -1 --format=%s`,
						`if grep -rlF "$CI_JOB_TOKEN" /builds; then exit 8; fi`,
					},
				}))
				want(t, j, log, gitlabtest.StatusSuccess, "")
				contains(t, log, "01O First")
			})
		}
	}, "podman")
}
