package e2e

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/fault"
	"gitlab.com/skerry/skerry/internal/gitlab/jobpayload"
)

// TestTimeoutWhileNoRunnerIsThere lets a job's time run out while no runner is there: its agent ends the script, and
// the next runner says so. A script that had ended in time is no timeout, and what follows it is still done.
func TestTimeoutWhileNoRunnerIsThere(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, m machine) {
		for name, ends := range map[string]bool{"the script runs on": false, "the script had ended": true} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				r := m.runner(t, m.project(t, gitlabtest.Options{}))
				r.start()
				g, after := m.gate(t), m.gate(t)
				after.open(t)
				d := 6 * time.Second
				if ends { // the rest of the script, too, has to be run in time
					d = m.short(20*time.Second) * 3 / 2
				}
				id, timeout, begun := r.timed(t, d, g, gitlabtest.JobSpec{
					Project: "group/project", Script: append(append(g.lines(), "mkdir made", "echo content > made/file"), after.lines()...),
					Artifacts: []jobpayload.Artifact{{Paths: []string{"made"}, When: "always", ArtifactFormat: "zip", ArtifactType: "archive"}},
				})
				script := r.script(g)
				r.kill()
				r.co.RunnerDied()
				if ends {
					g.open(t)
					until(t, "the script has ended", after.reached)
				}
				until(t, "the script's process has ended", func() bool { return ended(script) })
				if took := time.Since(begun); !ends && took < timeout-time.Second {
					t.Errorf("the script was ended after %v", took)
				}
				time.Sleep(time.Until(begun.Add(timeout + time.Second))) // the time that is over is the test's subject
				r.start()
				j, log := r.wait(id)
				if ends {
					want(t, j, log, gitlabtest.StatusSuccess, "")
					if len(j.Artifacts) != 1 {
						t.Errorf("artifacts: %+v, want one", j.Artifacts)
					}
					return
				}
				want(t, j, log, gitlabtest.StatusFailed, "job_execution_timeout")
				contains(t, log, fmt.Sprintf("execution took longer than %s seconds", timeout))
			})
		}
	})
}

// TestRestartsDoNotProlongATimeout restarts the runner again and again while a job's time runs out: the script
// ends all the same, soon after.
func TestRestartsDoNotProlongATimeout(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, m machine) {
		r := m.runner(t, m.coordinator(t, gitlabtest.Options{}))
		r.start()
		g := m.gate(t)
		id, timeout, begun := r.timed(t, 5*time.Second, g, gitlabtest.JobSpec{Script: g.lines()})
		script := r.script(g)
		for i := 2; !ended(script); i++ {
			if time.Since(begun) > timeout+patience {
				t.Fatal("the script runs on long after its job's time is over")
			}
			r.restart()
			r.awaitLogAgain("Runner is ready", i)
			time.Sleep(time.Second) // the runner has to meet the agent
		}
		if took := time.Since(begun); took < timeout-2*time.Second {
			t.Errorf("the script was ended after %v", took)
		}
		j, log := r.wait(id)
		want(t, j, log, gitlabtest.StatusFailed, "job_execution_timeout")
	})
}

// TestCancelWhileNoRunnerIsThere cancels a job that nobody watches: the next runner ends it as it was meant.
func TestCancelWhileNoRunnerIsThere(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, m machine) {
		for name, c := range map[string]struct {
			cancel func(*gitlabtest.Coordinator, int64)
			after  bool
		}{
			"gracefully": {(*gitlabtest.Coordinator).Cancel, true},
			"at once":    {(*gitlabtest.Coordinator).ForceCancel, false},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				r := m.runner(t, m.coordinator(t, gitlabtest.Options{}))
				r.start()
				g, after := m.gate(t), m.gate(t)
				after.open(t)
				id := r.add(gitlabtest.JobSpec{Script: append(g.lines(), "echo never"), AfterScript: after.lines()})
				g.await(t)
				script := r.script(g)
				r.kill()
				c.cancel(r.co, id)
				r.co.RunnerDied()
				r.start()
				until(t, "the script's process ends", func() bool { return ended(script) })
				j, log := r.wait(id)
				want(t, j, log, gitlabtest.StatusCanceled, j.Reason)
				until(t, "the job is forgotten", func() bool { return len(r.jobs()) == 0 && len(r.environments()) == 0 })
				if after.reached() != c.after {
					t.Errorf("after_script ran: %v, want %v", !c.after, c.after)
				}
			})
		}
	})
}

// TestCancelAfterTheResult cancels a job whose script has ended and whose result waits for GitLab, be it in this
// process or the next: the job is GitLab's to end, and the runner lets go of it.
func TestCancelAfterTheResult(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, m machine) {
		for name, restart := range map[string]bool{"in the same process": false, "in the next": true} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				r := m.runner(t, m.coordinator(t, gitlabtest.Options{}))
				hit := r.co.Fault(fault.Fault{Endpoint: gitlabtest.EndpointUpdate, State: fault.Final, Status: 503, Count: -1})
				r.start()
				id := r.add(gitlabtest.JobSpec{Script: []string{"exit 7"}})
				<-hit.Hit()
				if restart {
					r.kill()
					r.co.RunnerDied()
				}
				r.co.ForceCancel(id)
				r.co.ClearFaults()
				if restart {
					r.start()
				}
				j, log := r.wait(id)
				want(t, j, log, gitlabtest.StatusCanceled, j.Reason)
				until(t, "the job is forgotten", func() bool { return len(r.jobs()) == 0 && len(r.environments()) == 0 })
			})
		}
	})
}

// TestSignalsToAnAdopter sends a runner that has adopted a job the signals that a service manager or a person sends.
func TestSignalsToAnAdopter(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, m machine) {
		adopter := func(t *testing.T) (*runner, gate, int64) {
			t.Helper()
			r := m.runner(t, m.coordinator(t, gitlabtest.Options{}))
			r.start()
			g := m.gate(t)
			id := r.add(gitlabtest.JobSpec{Script: append(g.lines(), "echo went on")})
			g.await(t)
			r.restart()
			r.awaitLogAgain("Runner is ready", 2)
			return r, g, id
		}
		send := func(r *runner, signals ...syscall.Signal) {
			for _, s := range signals {
				_ = r.cmd.Process.Signal(s)
			}
		}
		t.Run("QUIT", func(t *testing.T) {
			t.Parallel()
			r, g, id := adopter(t)
			send(r, syscall.SIGQUIT)
			r.awaitLog("Draining")
			g.open(t)
			j, log := r.wait(id)
			want(t, j, log, gitlabtest.StatusSuccess, "")
			<-r.stopped
		})
		t.Run("TERM twice", func(t *testing.T) {
			t.Parallel()
			r, _, id := adopter(t)
			for i := 3; ; i++ {
				send(r, syscall.SIGTERM)
				r.awaitLogAgain("Stopping: running jobs go on", i-2)
				send(r, syscall.SIGTERM)
				<-r.stopped
				if strings.Contains(r.log.String(), "Stopping: running jobs are cancelled") {
					break
				}
				r.co.RunnerDied() // the second came when the second was over in which it counts: once more
				r.start()
				r.awaitLogAgain("Runner is ready", i)
			}
			j, log := r.wait(id)
			want(t, j, log, gitlabtest.StatusFailed, "runner_system_failure")
			if left := r.environments(); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
		t.Run("TERM while it starts", func(t *testing.T) {
			t.Parallel()
			r, g, id := adopter(t)
			for i := range 10 {
				r.kill()
				r.co.RunnerDied()
				r.start()
				time.Sleep(time.Duration(i*5) * time.Millisecond) // any moment will do
				r.signal(syscall.SIGTERM)
			}
			r.co.RunnerDied()
			r.start()
			g.open(t)
			j, log := r.wait(id)
			want(t, j, log, gitlabtest.StatusSuccess, "")
			contains(t, log, "went on")
		})
	})
}

// TestFrozen stops runner or agent for a while, as an overloaded or suspended machine does. Nothing comes of it
// but delay; an agent that stays frozen is ended with all its processes when the job is.
func TestFrozen(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, m machine) {
		pause := func(t *testing.T, pid int, length time.Duration) {
			t.Helper()
			if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			time.Sleep(length)
			if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
				t.Fatal(err)
			}
		}
		frozen := func(t *testing.T) (*runner, gate, int64, int) {
			t.Helper()
			r := m.runner(t, m.coordinator(t, gitlabtest.Options{}))
			r.start()
			g := m.gate(t)
			id := r.add(gitlabtest.JobSpec{Script: append(g.lines(), "echo went on", "exit 7")})
			g.await(t)
			return r, g, id, r.agent()
		}
		t.Run("the runner", func(t *testing.T) {
			t.Parallel()
			r, g, id, _ := frozen(t)
			g.open(t)
			pause(t, r.cmd.Process.Pid, 5*time.Second)
			j, log := r.wait(id)
			want(t, j, log, gitlabtest.StatusFailed, "script_failure")
			contains(t, log, "01O went on")
		})
		t.Run("the agent", func(t *testing.T) {
			t.Parallel()
			r, g, id, agent := frozen(t)
			g.open(t)
			pause(t, agent, 5*time.Second)
			j, log := r.wait(id)
			want(t, j, log, gitlabtest.StatusFailed, "script_failure")
			contains(t, log, "01O went on")
		})
		t.Run("the agent under a new runner", func(t *testing.T) {
			if !m.shell() && m.engine.Name != "podman" {
				return // it takes long, and no engine has a part in it
			}
			t.Parallel()
			r, g, id, agent := frozen(t)
			r.kill()
			r.co.RunnerDied()
			if err := syscall.Kill(agent, syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			r.start()
			time.Sleep(70 * time.Second) // longer than a connection may be silent
			g.open(t)
			if err := syscall.Kill(agent, syscall.SIGCONT); err != nil {
				t.Fatal(err)
			}
			j, log := r.wait(id)
			want(t, j, log, gitlabtest.StatusFailed, "script_failure")
			contains(t, log, "01O went on")
		})
		t.Run("the agent for ever", func(t *testing.T) {
			t.Parallel()
			r, g, id, agent := frozen(t)
			script := r.script(g)
			if err := syscall.Kill(agent, syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			r.co.ForceCancel(id)
			j, log := r.wait(id)
			want(t, j, log, gitlabtest.StatusCanceled, j.Reason)
			until(t, "the environment is gone", func() bool { return len(r.environments()) == 0 })
			until(t, "the script's processes are gone", func() bool { return ended(script) })
		})
	})
}
