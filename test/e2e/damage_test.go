package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/moby/moby/client"

	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/breach"
	"gitlab.com/skerry/skerry/internal/journal"
)

// damages are what a machine that loses power, or a person, does to a file that nobody had synced.
func damages() map[string]func(b []byte) []byte {
	return map[string]func(b []byte) []byte{
		"empty":        func([]byte) []byte { return nil },
		"half":         func(b []byte) []byte { return b[:len(b)/2] },
		"a torn end":   func(b []byte) []byte { return b[:max(len(b)-3, 0)] },
		"a zero end":   func(b []byte) []byte { return append(b[:len(b)/2:len(b)/2], make([]byte, len(b)-len(b)/2)...) },
		"a bit":        func(b []byte) []byte { c := bytes.Clone(b); flip(c); return c },
		"missing":      nil,
		"another file": func([]byte) []byte { return []byte(strings.Repeat("not what it should be\n", 500)) },
	}
}

func flip(b []byte) {
	if len(b) > 0 {
		b[len(b)/2] ^= 0x10
	}
}

// damage changes every file that the pattern names; there has to be one.
func damage(t *testing.T, how func([]byte) []byte, pattern string) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("nothing to damage at %s (%v)", pattern, err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err == nil && how == nil {
			err = os.Remove(f)
		} else if err == nil {
			err = os.WriteFile(f, how(b), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// damagedLog are the breaches that a log of which a part is lost cannot but commit.
func damagedLog() []breach.Kind {
	return []breach.Kind{breach.Checksum, breach.Size, breach.Gap, breach.Overlap}
}

// TestDamagedFilesOfAnEndedJob damages what a job's log is made of after the job has ended and before its
// result could be delivered: the result, which is in the journal, is delivered all the same.
func TestDamagedFilesOfAnEndedJob(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, m machine) {
		for _, file := range []string{"checkpoint", "log", "outline", "sent", "*"} {
			for name, how := range damages() {
				if !m.shell() && (file != "*" || name != "half" && name != "missing") {
					continue // it is the runner's own files, wherever the job runs
				}
				t.Run(strings.ReplaceAll(file, "*", "all")+": "+name, func(t *testing.T) {
					t.Parallel()
					r := m.runner(t, m.coordinator(t, gitlabtest.Options{Tolerate: damagedLog(), TraceInterval: 1}))
					r.start()
					g := m.gate(t)
					id := r.add(gitlabtest.JobSpec{Script: append(append([]string{"echo said before"}, g.lines()...), "echo said after", "exit 7")})
					g.await(t)
					until(t, "a part of the log has arrived", func() bool {
						log, err := r.co.Trace(id)
						return err == nil && strings.Contains(string(log), "01O said before")
					})
					files := filepath.Join(r.stateDir(), "jobs", "*", file)
					until(t, "there is something to damage", func() bool { // it is written after GitLab's answer
						there, err := filepath.Glob(files)
						return err == nil && len(there) > 0
					})
					r.co.Down()
					g.open(t)
					r.killEnded()
					r.co.RunnerDied()
					damage(t, how, files)
					r.start()
					if err := r.co.Up(); err != nil {
						t.Fatal(err)
					}
					j, log := r.wait(id)
					want(t, j, log, gitlabtest.StatusFailed, "script_failure")
					if j.ExitCode != 7 {
						t.Errorf("exit code %d, want 7", j.ExitCode)
					}
					contains(t, log, "01O said before", m.says(7))
					until(t, "the job is forgotten", func() bool { return len(r.jobs()) == 0 && len(r.environments()) == 0 })
				})
			}
		}
	}, "podman")
}

// killEnded kills the runner once its one job's result is in the journal.
func (r *runner) killEnded() {
	r.t.Helper()
	for {
		until(r.t, "the environment is gone", func() bool { return len(r.environments()) == 0 })
		r.kill()
		j := openJournal(r.t, r)
		recs, err := j.All()
		if err := errors.Join(err, j.Close()); err != nil || len(recs) != 1 {
			r.t.Fatalf("journaled jobs: %d, %v; want one", len(recs), err)
		}
		if recs[0].State == journal.Finished {
			return
		}
		r.start()
	}
}

// filesBelow are the files below dir that a job leaves, but for its program.
func filesBelow(t *testing.T, dir string) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && path != filepath.Join(dir, "place", "agent") {
			files = append(files, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// harm is what is done to a running job while no runner is there.
type harm struct {
	name, files  string // of the state directory, ID stands for the job's
	damage       string
	reboot, true bool // its agent dies, too; its true status is known all the same
}

// harms are what is done to the jobs of each run with m. The shell executor has all damages, one a run. Containers take
// longer, and what a damage is to the files that are theirs alone is tried without them.
func (m machine) harms() (runs [][]harm) {
	if !m.shell() {
		return [][]harm{{
			{name: "the log's", files: "jobs/ID", damage: "missing", true: true},
			{name: "the log's, and no agent", files: "jobs/ID", damage: "half", reboot: true},
			{name: "the environment's, and no agent", files: "envs/ID", damage: "a bit", reboot: true},
			{name: "the environment's record", files: "envs/ID/env.json", damage: "half"},
			{name: "the environment's record, which is gone", files: "envs/ID/env.json", damage: "missing"},
			{name: "that the environment is made", files: "envs/ID/made", damage: "missing", true: true},
		}}
	}
	for damage := range damages() {
		runs = append(runs,
			[]harm{{name: "the log's: " + damage, files: "jobs/ID", damage: damage, true: true}},
			[]harm{{name: "the log's, and no agent: " + damage, files: "jobs/ID", damage: damage, reboot: true}},
			[]harm{{name: "the environment's, and no agent: " + damage, files: "envs/ID", damage: damage, reboot: true}})
	}
	return runs
}

// victim is a job that harm is done to.
type victim struct {
	harm

	id   int64
	gate gate
	env  string
}

// victims starts a job for each harm.
func (r *runner) victims(harms []harm) []*victim {
	r.t.Helper()
	var list []*victim
	for _, h := range harms {
		v := &victim{harm: h, gate: r.m.gate(r.t)}
		v.id = r.add(gitlabtest.JobSpec{Script: append(append([]string{"echo said before"}, v.gate.lines()...), "echo said after", "exit 7")})
		list = append(list, v)
	}
	for _, v := range list {
		v.gate.await(r.t)
		v.env = r.environmentOf(v.id)
	}
	return list
}

// environmentOf is the directory of a job's environment; with the shell executor there may be one only.
func (r *runner) environmentOf(id int64) string {
	r.t.Helper()
	if r.m.shell() {
		until(r.t, "the one job's environment", func() bool { return len(r.environments()) == 1 })
		return r.environments()[0]
	}
	found, err := r.m.client(r.t).ContainerList(r.t.Context(), client.ContainerListOptions{Filters: make(client.Filters).
		Add("label", labelOwner+"="+r.owner(r.t)).Add("label", fmt.Sprintf("com.gitlab.gitlab-runner.job.id=%d", id))})
	if err != nil || len(found.Items) == 0 {
		r.t.Fatalf("job %d has no containers (%v)", id, err)
	}
	_, env, _ := strings.Cut(found.Items[0].Labels["com.gitlab.skerry.ref"], "/")
	return filepath.Join(r.stateDir(), "envs", env)
}

// suffer lets a job have its harm.
func (v *victim) suffer(t *testing.T, r *runner) {
	t.Helper()
	if v.reboot {
		if err := syscall.Kill(r.agentOf(v.env), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range filesBelow(t, filepath.Join(r.stateDir(), strings.ReplaceAll(v.files, "ID", filepath.Base(v.env)))) {
		damage(t, damages()[v.damage], f)
	}
}

// TestDamagedFilesOfARunningJob damages the files of running jobs, but for one's, while no runner is there, with and
// without the machine's processes. They end, as they really do or as a system failure; the other one, and
// the runner, do not notice, and nothing is left of them.
func TestDamagedFilesOfARunningJob(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, m machine) {
		for _, harms := range m.harms() {
			name := harms[0].name
			if len(harms) > 1 {
				name = "all at once"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				damagedRunning(t, m, harms)
			})
		}
	})
}

func damagedRunning(t *testing.T, m machine, harms []harm) {
	t.Helper()
	r := m.runner(t, m.coordinator(t, gitlabtest.Options{Tolerate: damagedLog(), TraceInterval: 1}))
	r.start()
	victims := r.victims(harms)
	g := m.gate(t)
	other := r.add(gitlabtest.JobSpec{Script: append(append([]string{"echo said before"}, g.lines()...), "echo said after", "exit 8")})
	g.await(t)
	r.kill()
	r.co.RunnerDied()
	for _, v := range victims {
		v.suffer(t, r)
	}
	r.start()
	g.open(t)
	for _, v := range victims {
		v.gate.open(t)
		j, log := r.wait(v.id)
		if v.true {
			want(t, j, log, gitlabtest.StatusFailed, "script_failure")
			contains(t, log, "01O said before", "01O said after", m.says(7))
		} else {
			want(t, j, log, gitlabtest.StatusFailed, "runner_system_failure")
		}
		if t.Failed() {
			t.Fatalf("damaged: %s", v.name)
		}
	}
	j, log := r.wait(other)
	want(t, j, log, gitlabtest.StatusFailed, "script_failure")
	contains(t, log, "01O said before", "01O said after", m.says(8))
	until(t, "the jobs are forgotten", func() bool { return len(r.jobs()) == 0 && len(r.environments()) == 0 })
	if strings.Contains(r.log.String(), "panic") {
		t.Error("there was a panic")
	}
}
