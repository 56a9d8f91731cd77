package e2e

import (
	"fmt"
	"path/filepath"
	"testing"

	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
	"gitlab.com/skerry/skerry/internal/gitlab/jobpayload"
)

// TestBackgroundProcesses starts a process in the background from everywhere where a job's author or the
// operator can run a command: it ends with its stage, or stays for the job's later stages where the
// operator has said so. Either way the end of the job's environment is its own. In containers there is less to try
// (TestContainerBackgroundProcesses): the hooks of the sources run in another one than the job's scripts, and the end of a
// container is that of its processes by the kernel's doing.
func TestBackgroundProcesses(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]bool{"end with the stage": false, "stay for the job": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pids, g := t.TempDir(), newGate(t)
			start := func(from string) string {
				return fmt.Sprintf("sleep 1000 > /dev/null 2>&1 & echo %s > %s/%s", written("$!"), pids, from)
			}
			r := newRunner(t, withProject(t, gitlabtest.Options{}),
				fmt.Sprintf("leave_processes = %v", leave),
				fmt.Sprintf("pre_get_sources_script = %q", start("pre_get_sources")),
				fmt.Sprintf("post_get_sources_script = %q", start("post_get_sources")),
				fmt.Sprintf("pre_build_script = %q", start("pre_build")),
				fmt.Sprintf("post_build_script = %q", start("post_build")))
			r.start()
			id := r.add(gitlabtest.JobSpec{
				Project: "group/project", Script: []string{start("script")}, AfterScript: append([]string{start("after_script")}, g.lines()...),
				Hooks: []jobpayload.Hook{
					{Name: "pre_get_sources_script", Script: []string{start("hook_pre_get_sources")}},
					{Name: "post_get_sources_script", Script: []string{start("hook_post_get_sources")}},
				},
			})
			g.await(t)
			from := []string{
				"pre_get_sources", "post_get_sources", "hook_pre_get_sources", "hook_post_get_sources",
				"pre_build", "script", "post_build",
			}
			for _, from := range from {
				if there := running(t, filepath.Join(pids, from)); there != leave {
					t.Errorf("in after_script, the process that %s started is there: %v, want %v", from, there, leave)
				}
			}
			g.open(t)
			j, log := r.wait(id)
			want(t, j, log, gitlabtest.StatusSuccess, "")
			until(t, "the environment is gone", func() bool { return len(r.environments()) == 0 })
			for _, from := range append(from, "after_script") {
				if running(t, filepath.Join(pids, from)) {
					t.Errorf("the process that %s started outlives the job", from)
				}
			}
		})
	}
}
