package peer_test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"gitlab.com/skerry/skerry/internal/cli/doctor/finding"
	"gitlab.com/skerry/skerry/internal/cli/doctor/host"
	"gitlab.com/skerry/skerry/internal/cli/doctor/peer"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
	"gitlab.com/skerry/skerry/internal/executor/container/enginetest"
)

// at is the engine at an address; empty: the first that is found on a machine that has none.
func at(t *testing.T, m host.Machine, address string) *peer.Engine {
	t.Helper()
	nothing := func(string) string { return "" }
	e := &peer.Engine{Machine: m, Asked: engineapi.Address{Host: address}, Finder: engineapi.Finder{Getenv: nothing, Root: t.TempDir(), UID: m.UID}}
	t.Cleanup(e.Close)
	return e
}

func TestEngine(t *testing.T) {
	t.Parallel()
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) {
		found := at(t, here(), e.Address.Host)
		kind := engineapi.Podman
		if e.Name == "docker" {
			kind = engineapi.Docker
		}
		want(t, found.Check(), finding.Fine, string(kind)+" ", "")
		f := found.Facts()
		if f.Kind != kind || f.Rootless != (e.Name == "rootless") || !f.Local || f.UID != os.Getuid() || f.Driver == "" || !filepath.IsAbs(f.Dir) {
			t.Errorf("%+v", f)
		}
		a := host.Account{Name: "ci", UID: f.UID, Home: "/home/ci"}
		want(t, peer.Storage(found, a), finding.Fine, f.Driver+" in "+f.Dir, "")
	})
}

// TestEngineMissing names for each machine the command that brings an engine.
func TestEngineMissing(t *testing.T) {
	t.Parallel()
	var root string
	if os.Getuid() != 0 {
		root = "sudo "
	}
	own, all := "/nonexistent/podman.sock", "/run/user/0/x/podman.sock"
	for name, c := range map[string]struct {
		machine    host.Machine
		address    string
		what, mend string
	}{
		"none":              {elsewhere(t), "", "there is no container engine", "install Podman, 4.3"},
		"no podman":         {elsewhere(t), "unix://" + own, "nobody listens on " + own, "install Podman"},
		"no docker":         {elsewhere(t), "unix:///nonexistent/docker.sock", "nobody listens on", "install Docker"},
		"docker":            {booted(t, elsewhere(t, "dockerd")), "unix:///run/user/0/x/docker.sock", "nobody listens on", root + "systemctl enable --now docker.service"},
		"docker by hand":    {elsewhere(t, "dockerd"), "unix:///run/user/0/x/docker.sock", "nobody listens on", root + "setsid --fork dockerd --host unix:///run/user/0/x/docker.sock && " + root + "sh -c 'for i in $(seq 600); do [ -S /run/user/0/x/docker.sock ]"},
		"podman of systemd": {booted(t, elsewhere(t, "podman")), "unix://" + all, "nobody listens on", root + "systemctl enable --now podman.socket"},
		"podman by hand":    {elsewhere(t, "podman"), "unix://" + all, "nobody listens on", "setsid --fork podman system service --time=0 unix://" + all},
		"over the network":  {elsewhere(t), "tcp://127.0.0.1:1", "nobody listens there", "correct `host`"},
		"not an address":    {elsewhere(t), "podman.sock", "has no scheme", "correct `host`"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want(t, at(t, c.machine, c.address).Check(), finding.Failure, c.what, c.mend)
		})
	}
}

// TestEngineClosed has a socket that this user may not use. Root may use every one, and has another user look.
func TestEngineClosed(t *testing.T) {
	t.Parallel()
	if os.Getuid() == 0 {
		const nobody = 65534
		cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^TestEngineClosed$", "-test.v")
		cmd.Dir, cmd.SysProcAttr = "/", &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: TestEngineClosed") {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	socket := serve(t, "podman", "4.3.1")
	if err := os.Chmod(socket, 0); err != nil {
		t.Fatal(err)
	}
	want(t, at(t, here(), "unix://"+socket).Check(), finding.Failure, "this user may not use "+socket, "run the runner as the socket's owner")
}

// TestEngineContext has Docker's command told to use a context that is not there.
func TestEngineContext(t *testing.T) {
	t.Parallel()
	e := at(t, elsewhere(t), "")
	dir := t.TempDir()
	e.Finder.Getenv = func(key string) string {
		return map[string]string{"DOCKER_CONTEXT": "nowhere", "DOCKER_CONFIG": dir, "HOME": dir}[key]
	}
	want(t, e.Check(), finding.Failure, "nowhere", "name the engine in `host`")
}

// serve is an engine that says no more than what it is.
func serve(t *testing.T, kind, version string) (socket string) {
	t.Helper()
	return serveInfo(t, kind, version, fmt.Sprintf(`{"Driver":"vfs","DockerRootDir":"/storage","SecurityOptions":[%q]}`, map[bool]string{true: "name=rootless"}[kind == "podman"]))
}

// serveInfo is an engine that says this of itself.
func serveInfo(t *testing.T, kind, version, info string) (socket string) {
	t.Helper()
	return serveAll(t, kind, version, map[string]string{"/info": info})
}

// serveAll is an engine with answers for the ends of paths.
func serveAll(t *testing.T, kind, version string, answers map[string]string) (socket string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "doctor") // short: a socket's path has 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	socket = filepath.Join(dir, "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { //nolint:gosec // a test's
		w.Header().Set("API-Version", "1.41")
		w.Header().Set("Content-Type", "application/json")
		if strings.HasSuffix(r.URL.Path, "/version") {
			name := "Engine"
			if kind == "podman" {
				name = "Podman Engine"
			}
			fmt.Fprintf(w, `{"Version":%q,"Arch":"amd64","ApiVersion":"1.41","Components":[{"Name":%q,"Version":%q}]}`, version, name, version)
			return
		}
		path := r.URL.Path
		if i := strings.LastIndex(path, "/libpod/"); i >= 0 {
			path = path[i:]
		} else {
			path = path[strings.LastIndex(path, "/"):]
		}
		if answer, ok := answers[path]; ok {
			fmt.Fprint(w, answer)
			return
		}
		if !strings.HasSuffix(path, "/_ping") {
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"message":"no such thing"}`)
		}
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(l)
	}()
	t.Cleanup(func() {
		_ = s.Close()
		<-done
		_ = os.RemoveAll(dir)
	})
	return socket
}

func TestEngineVersions(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		kind, version string
		severity      finding.Severity
		what          string
	}{
		{"podman", "4.2.9", finding.Failure, "podman 4.2.9 is older than Podman 4.3"},
		{"podman", "4.3.0-rc1", finding.Fine, "podman 4.3.0-rc1, rootless"},
		{"podman", "5.0", finding.Fine, "podman 5.0"},
		{"docker", "20.10.24+dfsg1", finding.Fine, "docker 20.10.24"},
		{"docker", "19.03.5", finding.Failure, "docker 19.03.5 is older than Docker 20.10"},
		{"docker", "master", finding.Fine, "docker master"},
	} {
		t.Run(c.kind+c.version, func(t *testing.T) {
			t.Parallel()
			e := at(t, here(), "unix://"+serve(t, c.kind, c.version))
			mend := ""
			if c.severity > finding.Fine {
				mend = "install a newer one"
			}
			want(t, e.Check(), c.severity, c.what, mend)
		})
	}
}

func TestStorage(t *testing.T) {
	t.Parallel()
	a := host.Account{Name: "ci", UID: os.Getuid(), Home: "/home/ci"}
	e := at(t, here(), "unix://"+serve(t, "podman", "4.3.1"))
	want(t, peer.Storage(e, a), finding.Skipped, "has not told", "")
	e.Check().Look(t.Context())
	got := want(t, peer.Storage(e, a), finding.Warning, "podman keeps images with the driver vfs", "podman system reset --force && mkdir -p /home/ci/.config/containers && ")
	if got.Loses == "" {
		t.Error("it does not say that images are lost")
	}
	for _, before := range []string{"", "[storage]\n  driver = \"vfs\"\n", "[storage]\n\tdriver=\"vfs\"", "[storage]\nrunroot = \"/x\"\n", "# driver = \"overlay\"\n[storage.options]\npull_options = {}"} {
		file := filepath.Join(t.TempDir(), "storage.conf")
		if err := os.WriteFile(file, []byte(before), 0o600); err != nil {
			t.Fatal(err)
		}
		do(t, finding.Result{Mend: []finding.Command{got.Mend[2][len(got.Mend[2])-3:]}}, a.Home+"/.config/containers/storage.conf", file)
		after, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if section, _, ok := strings.Cut("\n"+string(after), "\ndriver = \"overlay\"\n"); !ok || !strings.HasSuffix(section, "\n[storage]") {
			t.Errorf("%q became %q", before, after)
		}
	}
	e = at(t, here(), "unix://"+serve(t, "docker", "20.10.1"))
	e.Check().Look(t.Context())
	want(t, peer.Storage(e, a), finding.Warning, "docker keeps images with the driver vfs", "overlay2")
}

// TestEngineStarts starts a real Podman by the advice for one that is not there.
func TestEngineStarts(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("podman"); err != nil || os.Getuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("it takes podman and root: run scripts/setup.sh")
		}
		t.Skip("it takes podman and root")
	}
	dir, err := os.MkdirTemp("", "doctor")
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "new", "podman.sock")
	t.Cleanup(func() {
		end(t, socket)
		_ = os.RemoveAll(dir)
	})
	m := here()
	if m.Systemd() {
		t.Skip("systemd starts another one here")
	}
	e := at(t, m, "unix://"+socket)
	got := want(t, e.Check(), finding.Failure, "nobody listens on "+socket, "setsid --fork podman")
	do(t, got)
	want(t, e.Check(), finding.Fine, "podman ", "")
}

// end ends the processes that have a word in their command lines which nothing else has.
func end(t *testing.T, word string) {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range lines {
		text, err := os.ReadFile(l)
		pid, pidErr := strconv.Atoi(filepath.Base(filepath.Dir(l)))
		if err == nil && pidErr == nil && strings.Contains(string(text), word) {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may be gone
		}
	}
}
