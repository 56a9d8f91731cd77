package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"gitlab.com/skerry/skerry/internal/control"
	"gitlab.com/skerry/skerry/internal/gitlab"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
	"gitlab.com/skerry/skerry/internal/gitlab/jobpayload"
	"gitlab.com/skerry/skerry/internal/pty"
)

// cmd is another command of the program with the runner's configuration and working directory.
func (r *runner) cmdOf(args ...string) *exec.Cmd {
	r.t.Helper()
	path, err := program()
	if err != nil {
		r.t.Fatal(err)
	}
	args = append([]string{args[0], "--config", r.config(), "--working-directory", r.dir}, args[1:]...)
	cmd := exec.CommandContext(r.t.Context(), path, args...)
	r.m.as(r.t, cmd, append(slices.Clone(r.env), "TERM=xterm"))
	return cmd
}

// said runs a command and returns its standard output and exit code.
func (r *runner) said(args ...string) (string, int) {
	r.t.Helper()
	cmd := r.cmdOf(args...)
	var errOut bytes.Buffer
	cmd.Stderr = &errOut
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		r.t.Fatal(err)
	}
	r.t.Logf("%v: %d\n%s%s", args, cmd.ProcessState.ExitCode(), out, errOut.String())
	return string(out), cmd.ProcessState.ExitCode()
}

func (r *runner) listed() (jobs []control.Job) {
	r.t.Helper()
	var out string
	until(r.t, "the runner lists its jobs", func() bool {
		said, code := r.said("jobs", "--json")
		out = said
		return code == 0
	})
	if err := json.Unmarshal([]byte(out), &jobs); err != nil {
		r.t.Fatal(err)
	}
	return jobs
}

// TestIntoJob lists, follows and enters a job from other processes, over a restart of the runner.
func TestIntoJob(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, m machine) {
		r := m.runner(t, m.project(t, gitlabtest.Options{}))
		if out, code := r.said("jobs"); code != 1 {
			t.Errorf("jobs without a runner: %d %s", code, out)
		}
		r.start()
		g := m.gate(t)
		id := r.add(gitlabtest.JobSpec{
			Name: "into", Project: "group/project",
			Script: append([]string{"echo the secret is $SECRET", "echo FROM_STEP=step >> $GITLAB_ENV"}, append(g.lines(), "echo after the gate", "exit 3")...),
			Variables: []jobpayload.Variable{
				{Key: "SECRET", Value: "a-secret-value", Masked: true}, {Key: "A_FILE", Value: "content of the file", File: true},
			},
		})
		g.await(t)
		job := fmt.Sprint(id)
		if info, err := os.Stat(filepath.Join(r.stateDir(), "control.sock")); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the socket: %v, %v", info, err)
		}

		jobs := r.listed()
		if len(jobs) != 1 || jobs[0].ID != id || jobs[0].Project != "group/project" || jobs[0].State != "running" || jobs[0].Stage != "step_script" || jobs[0].Runner != "e2e" {
			t.Errorf("%+v", jobs)
		}
		if out, code := r.said("jobs"); code != 0 || !strings.Contains(out, job) || !strings.Contains(out, "step_script") {
			t.Errorf("%d %s", code, out)
		}
		attach := r.cmdOf("attach", job)
		var log, said lockedBuffer
		attach.Stdout, attach.Stderr = &log, &said
		if err := attach.Start(); err != nil {
			t.Fatal(err)
		}
		if out, code := r.said("shell", job, "--", "sh", "-c", `echo "$SECRET,$(cat $A_FILE),$CI_JOB_STATUS"; pwd; echo error >&2; exit 9`); code != 9 ||
			!strings.HasPrefix(out, "a-secret-value,content of the file,running\n") || !strings.HasSuffix(out, "/group/project\n") {
			t.Errorf("%d %q", code, out)
		}
		if out, code := r.said("shell", "99999", "true"); code != 1 {
			t.Errorf("another job: %d %s", code, out)
		}
		until(t, "attach follows", func() bool { return strings.Contains(log.String(), "the secret is") })
		r.tryTerminal(job)

		r.restart()
		r.awaitLog("Job adopted")
		until(t, "attach follows again", func() bool { return strings.Contains(said.String(), "the runner is back") })
		g.open(t)
		j, trace := r.wait(id)
		want(t, j, trace, "failed", "script_failure")
		var exit *exec.ExitError
		if err := attach.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 3 || log.String() != trace {
			t.Errorf("attach: %v, log\n%q, GitLab's\n%q\n%s", err, log.String(), trace, said.String())
		}
		if strings.Contains(log.String(), "a-secret-value") {
			t.Error("the secret is in the log")
		}
	})
}

// tryTerminal uses shell as a person at a terminal does.
func (r *runner) tryTerminal(job string) {
	t := r.t
	master, slave, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	if err := pty.SetSize(master, 41, 97); err != nil {
		t.Fatal(err)
	}
	cmd := r.cmdOf("shell", job)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr.Setpgid, cmd.SysProcAttr.Setsid, cmd.SysProcAttr.Setctty = false, true, true
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := slave.Close(); err != nil {
		t.Fatal(err)
	}
	var shown bytes.Buffer
	until := func(text string) {
		t.Helper()
		_ = master.SetReadDeadline(time.Now().Add(patience))
		buf := make([]byte, 4096)
		for !strings.Contains(shown.String(), text) {
			n, err := master.Read(buf)
			shown.Write(buf[:n])
			if err != nil {
				t.Fatalf("%v: %q does not come: %q", err, text, shown.String())
			}
		}
		_, rest, _ := strings.Cut(shown.String(), text)
		shown.Reset()
		shown.WriteString(rest)
	}
	say := func(text string) {
		t.Helper()
		if _, err := io.WriteString(master, text); err != nil {
			t.Fatal(err)
		}
	}
	say("PS1='rea''dy> '\n")
	until("ready> ")
	say("echo size $(stty size) of $TERM\n")
	until("size 41 97 of xterm")
	if err := pty.SetSize(master, 20, 30); err != nil {
		t.Fatal(err)
	}
	say("while [ \"$(stty size)\" != '20 30' ]; do sleep 0.1; done; echo chan''ged\n")
	until("changed")
	until("ready> ")
	say("sh -c 'echo sle\"\"eps; exec sleep 1000'\n")
	until("sleeps")
	say("\x03") // Ctrl-C is the program's
	until("ready> ")
	say("echo inter''rupted\n")
	until("interrupted")
	say("exit 6\n")
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 6 {
		t.Errorf("the shell ends with %d", code)
	}
}

// TestKeepFailed keeps the environment of a failed job: its slot is free, the runner may be restarted, and at the end
// nothing is left.
func TestKeepFailed(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, m machine) {
		r := m.runner(t, m.project(t, gitlabtest.Options{}), `keep_failed = "1h"`, "limit = 1")
		r.editConfig("concurrent = 10", "concurrent = 1")
		r.start()
		failing := gitlabtest.JobSpec{
			Name: "failing", Project: "group/project", Script: []string{"pwd > where; echo $A_FILE >> where; exit 4"},
			Variables: []jobpayload.Variable{{Key: "A_FILE", Value: "content of the file", File: true}},
		}
		id := r.add(failing)
		j, log := r.wait(id)
		want(t, j, log, "failed", "script_failure")
		contains(t, log, "kept for 1h0m0s (keep_failed)", fmt.Sprintf("skerry shell %d", id))
		job := fmt.Sprint(id)
		until(t, "the job is kept", func() bool { jobs := r.listed(); return len(jobs) == 1 && jobs[0].State == "kept" })

		where := func() (dir, file string) {
			out, code := r.said("shell", job, "--", "cat", "where")
			if lines := strings.Split(out, "\n"); code == 0 && len(lines) == 3 {
				return lines[0], lines[1]
			}
			t.Fatalf("shell: %d %q", code, out)
			return "", ""
		}
		dir, file := where()
		other := gitlabtest.JobSpec{Name: "other", Project: "group/project", Script: []string{"pwd", "test ! -e where"}}
		j, log = r.wait(r.add(other))
		want(t, j, log, "success", "")
		if m.shell() && strings.Contains(log, dir+"\n") {
			t.Errorf("another job works in the kept directory:\n%s", log)
		}

		r.restart()
		until(t, "the job is kept by the next process", func() bool { jobs := r.listed(); return len(jobs) == 1 && jobs[0].State == "kept" })
		where()
		j, log = r.wait(r.add(other))
		want(t, j, log, "success", "")
		if m.shell() && strings.Contains(log, dir+"\n") {
			t.Errorf("another job works in the kept directory after a restart:\n%s", log)
		}
		if out, code := r.said("attach", job); code != 4 || !strings.Contains(out, "Job failed") {
			t.Errorf("attach: %d %s", code, out)
		}
		if out, code := r.said("shell", job, "--", "cat", file); code != 0 || out != "content of the file" {
			t.Errorf("the file variable: %d %q", code, out)
		}
		if out, code := r.said("jobs", "--release", job); code != 0 {
			t.Errorf("release: %d %s", code, out)
		}
		until(t, "nothing is kept", func() bool { return len(r.listed()) == 0 && len(r.environments()) == 0 })
		if m.shell() && exists(file) {
			t.Errorf("%s is left", file)
		}
		if _, code := r.said("jobs", "--release", job); code != 1 {
			t.Error("what is not kept is released")
		}

		id = r.add(failing)
		r.wait(id)
		until(t, "the job is kept", func() bool { return len(r.listed()) == 1 })
		r.signal(syscall.SIGQUIT) // drains, and does not wait for what is kept
		if len(r.environments()) != 1 {
			t.Errorf("%v", r.environments())
		}
		r.start()
		until(t, "the job is kept by the next process", func() bool { return len(r.listed()) == 1 })
		if out, code := r.said("jobs", "--release", fmt.Sprint(id)); code != 0 {
			t.Errorf("release: %d %s", code, out)
		}
		until(t, "nothing is kept", func() bool { return len(r.environments()) == 0 })
	})
}

// TestKeptForItsTime lets the time of a kept environment run out, once without a runner.
func TestKeptForItsTime(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, m machine) {
		r := m.runner(t, m.project(t, gitlabtest.Options{}), `keep_failed = "3s"`)
		r.start()
		j, log := r.wait(r.add(gitlabtest.JobSpec{Project: "group/project", Script: []string{"exit 1"}}))
		want(t, j, log, "failed", "script_failure")
		until(t, "nothing is kept", func() bool { return len(r.environments()) == 0 })
		r.wait(r.add(gitlabtest.JobSpec{Project: "group/project", Script: []string{"exit 1"}}))
		r.kill()
		time.Sleep(4 * time.Second) // the time that it is kept for
		r.restart()
		until(t, "nothing is kept", func() bool { return len(r.environments()) == 0 })
	})
}

// TestWebTerminal opens the terminal that GitLab is offered, as its Workhorse does, over a restart of the runner; the job
// does not end before the user has left.
func TestWebTerminal(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, m machine) {
		co := m.project(t, gitlabtest.Options{})
		r := m.runner(t, co)
		r.editConfig("[[runners]]", "[session_server]\nlisten_address = \"127.0.0.1:0\"\nadvertise_address = \"localhost:8093\"\n\n[[runners]]")
		r.start()
		g := m.gate(t)
		id := r.add(gitlabtest.JobSpec{
			Name: "web", Project: "group/project", Script: append(g.lines(), "echo the script is over"),
			Variables: []jobpayload.Variable{{Key: "SECRET", Value: "a-secret-value", Masked: true}},
		})
		g.await(t)
		r.restart()
		r.awaitLog("Job adopted")
		offer, ok := co.Session(id)
		if !ok {
			t.Fatal("GitLab has not been offered a session")
		}
		c := r.openWeb(offer)
		say := func(text string) {
			t.Helper()
			if err := c.Write(t.Context(), websocket.MessageBinary, []byte(text)); err != nil {
				t.Fatal(err)
			}
		}
		shown := ""
		until := func(text string) {
			t.Helper()
			for !strings.Contains(shown, text) {
				_, b, err := c.Read(t.Context())
				if err != nil {
					t.Fatalf("%v: %q does not come: %q", err, text, shown)
				}
				shown += string(b)
			}
		}
		say("echo $CI_JOB_NAME.$SECRET.$TERM; pwd\n")
		until("web.a-secret-value.xterm-256color\r\n")
		until("/group/project\r\n")
		g.open(t)
		if _, err := co.WaitFor(t.Context(), id, func(gitlabtest.Job) bool {
			log, err := co.Trace(id)
			return err == nil && strings.Contains(string(log), "Terminal is connected, will time out in 30m0s...")
		}); err != nil {
			t.Fatal(err)
		}
		say("exit\n")
		for {
			if _, _, err := c.Read(t.Context()); err != nil {
				if websocket.CloseStatus(err) != websocket.StatusNormalClosure {
					t.Errorf("the end: %v", err)
				}
				break
			}
		}
		j, log := r.wait(id)
		want(t, j, log, "success", "")
		contains(t, log, "the script is over", "Terminal disconnected")
		if strings.Contains(log, "a-secret-value") {
			t.Error("what the terminal showed is in the log")
		}
	})
}

// openWeb connects to a session, wherever the runner listens now, trusting the certificate that it has offered.
func (r *runner) openWeb(o gitlab.Session) *websocket.Conn {
	t := r.t
	t.Helper()
	log := r.log.String()
	_, after, _ := strings.Cut(log[strings.LastIndex(log, "Web terminals are served"):], "address=")
	address := strings.Fields(after)[0]
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(o.Certificate))
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", address)
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	var c *websocket.Conn
	until(t, "the session is there", func() bool { // a job that is adopted has its own a moment later
		var res *http.Response
		var err error
		c, res, err = websocket.Dial(t.Context(), o.URL+"/exec", &websocket.DialOptions{
			HTTPClient: &http.Client{Transport: transport}, Subprotocols: []string{"terminal.gitlab.com"},
			HTTPHeader: http.Header{"Authorization": {o.Authorization}},
		})
		if err != nil && (res == nil || res.StatusCode != http.StatusNotFound) {
			t.Fatal(err)
		}
		return err == nil
	})
	t.Cleanup(func() { _ = c.CloseNow() })
	return c
}
