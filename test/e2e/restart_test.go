package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"gitlab.com/skerry/skerry/internal/executor/container/enginetest"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
)

// engineProcess is an engine's process that a test may kill.
type engineProcess struct {
	t       *testing.T
	socket  string
	command []string
	env     []string
	cmd     *exec.Cmd
}

func (p *engineProcess) start() {
	p.t.Helper()
	log, err := os.OpenFile(filepath.Join(filepath.Dir(p.socket), "engine.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		p.t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(p.command[0], p.command[1:]...)
	cmd.Env = append(os.Environ(), p.env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.cmd = cmd
	until(p.t, "the engine answers", func() bool {
		return exec.CommandContext(p.t.Context(), "curl", "-fsS", "--max-time", "10", "--unix-socket", p.socket, "http://engine/_ping").Run() == nil
	})
}

// end ends the process with a signal and waits for it.
func (p *engineProcess) end(s syscall.Signal) {
	_ = p.cmd.Process.Signal(s)
	_ = p.cmd.Wait()
}

// restartablePodman makes a Podman whose API's process the test may end. Its containers are the rootful Podman's: there is
// no daemon.
func restartablePodman(t *testing.T) (machine, *engineProcess) {
	t.Helper()
	dir, err := os.MkdirTemp("", "skerry-e2e-podman")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	p := &engineProcess{
		t: t, socket: filepath.Join(dir, "podman.sock"), env: []string{"CONTAINERS_CONF=/var/lib/skerry-test-engines/containers.conf"},
	}
	p.command = []string{"podman", "system", "service", "--time=0", "unix://" + p.socket}
	return p.machine("podman-restarted"), p
}

// restartableDocker makes a Docker of the test's own, with live-restore.
func restartableDocker(t *testing.T) (machine, *engineProcess) {
	t.Helper()
	dir, err := os.MkdirTemp("/var/lib/skerry-test-engines", "restarted")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = unix.Unmount(filepath.Join(dir, "data"), unix.MNT_DETACH) // which dockerd leaves where it is to restore containers
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	p := &engineProcess{t: t, socket: filepath.Join(dir, "docker.sock")}
	// A bridge of its own: without any, dockerd removes docker0, which is that of the Docker that is there.
	bridge := fmt.Sprintf("sk%d", os.Getpid())
	ip := func(args ...string) error { return exec.Command("ip", args...).Run() }
	if err := errors.Join(ip("link", "add", bridge, "type", "bridge"), ip("address", "add", "172.31.251.1/29", "dev", bridge), ip("link", "set", bridge, "up")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ip("link", "delete", bridge) })
	// No rules of its own: they would meet those of the Docker that is there.
	p.command = []string{
		"dockerd", "--host", "unix://" + p.socket, "--data-root", filepath.Join(dir, "data"), "--exec-root", filepath.Join(dir, "run"),
		"--pidfile", filepath.Join(dir, "pid"), "--live-restore", "--bridge=" + bridge, "--iptables=false", "--ip-masq=false",
	}
	return p.machine("docker-restarted"), p
}

func (p *engineProcess) machine(name string) machine {
	p.start()
	p.t.Cleanup(func() { p.end(syscall.SIGTERM) })
	m := machine{engine: enginetest.Engine{Name: name}}
	m.engine.Address.Host = "unix://" + p.socket
	return m
}

// TestEngineRestarted ends the engine's process under a running job and starts it again, alone and together with the
// runner: the job goes on, and its log is whole.
func TestEngineRestarted(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, m machine) {
		own := restartablePodman
		if m.engine.Name == "docker" {
			own = restartableDocker
		}
		m, engine := own(t)
		r := m.runner(t, m.project(t, gitlabtest.Options{}))
		r.start()
		for _, both := range []bool{false, true} {
			g := m.gate(t)
			id := r.add(gitlabtest.JobSpec{Project: "group/project", Script: append(append([]string{"echo said before"}, g.lines()...), "cat README", "exit 7")})
			g.await(t)
			if both {
				r.kill()
				r.co.RunnerDied()
			}
			how := syscall.SIGKILL
			if strings.HasPrefix(m.engine.Name, "docker") { // a killed dockerd leaves its containerd, which has to be ended, too
				how = syscall.SIGTERM
			}
			engine.end(how)
			engine.start()
			if both {
				r.start()
			}
			g.open(t)
			j, log := r.wait(id)
			want(t, j, log, gitlabtest.StatusFailed, "script_failure")
			contains(t, log, "01O said before", "01O hello", "exit code 7")
		}
	}, "docker", "podman")
}
