package e2e

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"

	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
)

// entry is the text of one more runner entry.
func entry(r *runner, name, token string) string {
	return fmt.Sprintf("\n[[runners]]\nname = %q\nurl = %q\ntoken = %q\n%s", name, r.co.URL(), token, r.m.entry(r.t))
}

// TestTwoEntriesShareOneSlot gives one slot to two runners that always have work: they take turns.
func TestTwoEntriesShareOneSlot(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, m machine) {
		co := m.coordinator(t, gitlabtest.Options{})
		r := m.runner(t, co, "request_concurrency = 1")
		second := co.AddRunner(gitlabtest.RunnerSpec{Tags: []string{"second"}, TaggedOnly: true})
		first := co.Runners()[0].ID
		r.editConfig("concurrent = 10", "concurrent = 1")
		r.editConfig("\n[[runners]]", entry(r, "second", second.Token)+"\n[[runners]]")
		each := 5
		if !m.shell() {
			each = 3 // turns are the runner's, whoever makes the environment
		}
		var ids []int64
		for range each {
			ids = append(ids, r.add(gitlabtest.JobSpec{Script: []string{"echo first"}}), r.add(gitlabtest.JobSpec{Script: []string{"echo second"}, Tags: []string{"second"}}))
		}
		r.start()
		for _, id := range ids {
			j, log := r.wait(id)
			want(t, j, log, gitlabtest.StatusSuccess, "")
		}
		taking(t, co.Jobs(), map[int64]int{first: each, second.ID: each})
	})
}

// taking checks that jobs ran one at a time and that, in the order of their starts, neither runner has more than two
// in a row while another waits; left are the jobs of each.
func taking(t *testing.T, jobs []gitlabtest.Job, left map[int64]int) {
	t.Helper()
	slices.SortFunc(jobs, func(a, b gitlabtest.Job) int { return a.Started.Compare(b.Started) })
	row, last := 0, int64(0)
	var order []string
	for i, j := range jobs {
		order = append(order, fmt.Sprint(j.Runner))
		if i > 0 && j.Started.Before(jobs[i-1].Finished) {
			t.Errorf("jobs %d and %d ran at the same time with concurrent = 1", jobs[i-1].ID, j.ID)
		}
		if row++; j.Runner != last {
			row, last = 1, j.Runner
		}
		left[j.Runner]--
		for other, n := range left {
			if row > 2 && other != j.Runner && n > 0 && left[j.Runner] > 0 {
				t.Errorf("runner %d had %d jobs in a row while another waited: %s", j.Runner, row, strings.Join(order, " "))
			}
		}
	}
}

// TestReloadWhileAJobRuns changes the configuration under a running job: an invalid one is reported and
// changes nothing, a valid one adds a runner, and the job notices neither.
func TestReloadWhileAJobRuns(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, m machine) {
		co := m.coordinator(t, gitlabtest.Options{})
		r := m.runner(t, co)
		r.start()
		g := m.gate(t)
		running := r.add(gitlabtest.JobSpec{Script: append(g.lines(), "echo went on", "exit 7")})
		g.await(t)

		r.editConfig("concurrent = 10", "concurrent = \"many\"")
		if err := r.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		r.awaitLog("The changed configuration is not valid; the earlier one stays in force")
		r.awaitLog("config.toml:1") // the rest of its line may come a moment later
		contains(t, r.log.String(), "concurrent")
		j, log := r.wait(r.add(gitlabtest.JobSpec{Script: []string{"echo still the earlier one"}}))
		want(t, j, log, gitlabtest.StatusSuccess, "")

		second := co.AddRunner(gitlabtest.RunnerSpec{Tags: []string{"second"}, TaggedOnly: true})
		r.editConfig("concurrent = \"many\"", "concurrent = 10")
		r.editConfig("\n[[runners]]", entry(r, "second", second.Token)+"\n[[runners]]")
		if err := r.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		j, log = r.wait(r.add(gitlabtest.JobSpec{Script: []string{"echo of the new runner"}, Tags: []string{"second"}}))
		want(t, j, log, gitlabtest.StatusSuccess, "")
		if j.Runner != second.ID {
			t.Errorf("runner %d took the job of runner %d", j.Runner, second.ID)
		}
		g.open(t)
		j, log = r.wait(running)
		want(t, j, log, gitlabtest.StatusFailed, "script_failure")
		contains(t, log, "01O went on", m.says(7))
	})
}

// TestUnregisterWhileAJobRuns takes a runner away with the command made for it, as NixOS does when an
// entry leaves the configuration: the other one stays, and the running job ends as if nothing had been.
func TestUnregisterWhileAJobRuns(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, m machine) {
		co := m.coordinator(t, gitlabtest.Options{})
		r := m.runner(t, co)
		second := co.AddRunner(gitlabtest.RunnerSpec{Tags: []string{"second"}, TaggedOnly: true})
		r.editConfig("\n[[runners]]", entry(r, "second", second.Token)+"\n[[runners]]")
		r.start()
		g := m.gate(t)
		id := r.add(gitlabtest.JobSpec{Script: append(g.lines(), "echo went on", "exit 7"), Tags: []string{"second"}})
		g.await(t)
		if out, err := r.command("unregister", "--name", "second"); err != nil {
			t.Fatalf("unregister: %v\n%s", err, out)
		}
		if text := readFile(t, r.config()); strings.Contains(text, second.Token) || !strings.Contains(text, r.token) {
			t.Errorf("the configuration after unregistering the second runner:\n%s", text)
		}
		if err := r.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		r.awaitLog("Configuration loaded")
		j, log := r.wait(r.add(gitlabtest.JobSpec{Script: []string{"echo of the other runner"}}))
		want(t, j, log, gitlabtest.StatusSuccess, "")
		r.restart() // and its successor adopts a job of a runner that is configured nowhere
		g.open(t)
		j, log = r.wait(id)
		want(t, j, log, gitlabtest.StatusFailed, "script_failure")
		contains(t, log, "01O went on", m.says(7))
		until(t, "the environment is gone", func() bool { return len(r.environments()) == 0 })
	})
}
