package doctor

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/cli/doctor/finding"
	"gitlab.com/skerry/skerry/internal/cli/doctor/host"
	"gitlab.com/skerry/skerry/internal/cli/program"
)

const runners = "[[runners]]\nname = \"one\"\nurl = \"http://127.0.0.1:1\"\ntoken = \"glrt-0123456789abcdefghij\"\n"

// nobodys is the address of a rootless engine of the user nobody, whom every machine knows.
const nobodys = "host = \"unix:///run/user/65534/podman/podman.sock\"\n"

// TestNeeds lists the checks of configurations whose engines are not there.
func TestNeeds(t *testing.T) {
	t.Parallel()
	gitlab := []string{"gitlab http://127.0.0.1:1", "clock http://127.0.0.1:1", "token runner one"}
	rootless := []string{"engine unix:///run/user/65534/podman/podman.sock", "subuid user nobody", "subgid user nobody", "newuidmap", "newgidmap"}
	for name, c := range map[string]struct {
		config  string
		systemd bool
		want    []string
	}{
		"shell":              {runners + "executor = \"shell\"\n", true, []string{"disk STATE"}},
		"shell, directories": {runners + "executor = \"shell\"\nbuilds_dir = \"/b\"\ncache_dir = \"/c\"\n", false, []string{"disk STATE", "disk /b", "disk /c"}},
		"rootless": {runners + "executor = \"docker\"\n[runners.docker]\nimage = \"alpine\"\n" + nobodys, false,
			append(rootless[:5:5], "tun user nobody", "registry index.docker.io", "disk STATE")},
		"rootless, systemd": {runners + "executor = \"podman\"\n[runners.docker]\nimage = \"localhost/x\"\nnetwork_mode = \"host\"\n" + nobodys, true,
			append(rootless[:5:5], "linger user nobody", "cgroup user nobody", "disk STATE")},
		"engines of jobs": {runners + "executor = \"docker\"\n[runners.docker]\nimage = \"localhost/x\"\nnested = \"podman\"\n" + nobodys, false,
			append(rootless[:5:5], "tun engines of jobs", "nested image localhost/skerry-podman", "disk STATE")},
		"one engine of jobs": {runners + "executor = \"docker\"\n[runners.docker]\nimage = \"localhost/x\"\nnested = \"shared\"\n" + nobodys, false,
			append(rootless[:5:5], "tun engines of jobs", "nested image localhost/skerry-podman", "disk STATE")},
		"pull nothing": {runners + "executor = \"docker\"\n[runners.docker]\nimage = \"alpine\"\npull_policy = \"never\"\n" + nobodys, false,
			append(rootless[:5:5], "tun user nobody", "disk STATE")},
		"over the network": {runners + "executor = \"docker\"\n[runners.docker]\nimage = \"r.invalid/x\"\nhost = \"tcp://127.0.0.1:1\"\n[runners.nix]\nstore = \"shared\"\n", true,
			[]string{"engine tcp://127.0.0.1:1", "registry r.invalid", "nix image localhost/skerry-nix-daemon", "disk STATE"}},
		"the machine's Nix": {runners + "executor = \"shell\"\n[runners.nix]\nstore = \"host\"\n", false, []string{"disk STATE", "nix /nix/var/nix/daemon-socket/socket"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := sessionOf(t, c.config, c.systemd)
			s.configuration(t.Context())
			checks := s.engineChecks()
			for _, e := range checks {
				if r := e.Look(t.Context()); r.Severity != finding.Failure {
					t.Fatalf("%+v", r)
				}
			}
			checks = append(checks, s.rest()...)
			var got []string
			for _, check := range checks {
				got = append(got, strings.Replace(strings.TrimSpace(check.Name+" "+check.About), filepath.Join(filepath.Dir(s.config), ".skerry"), "STATE", 1))
			}
			if diff := cmp.Diff(append(c.want, gitlab...), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// sessionOf has this configuration on a machine of root's.
func sessionOf(t *testing.T, config string, systemd bool) *session {
	t.Helper()
	root := t.TempDir()
	path := filepath.Join(root, "config.toml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	if systemd {
		if err := os.MkdirAll(filepath.Join(root, "run/systemd/system"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	p := program.New([]string{"skerry"}, program.Streams{}, program.Build{})
	p.UID, p.Env = 0, func(string) (string, bool) { return "", false }
	s := &session{doctor: &doctor{program: p, executors: []string{"shell", "docker", "podman"}, config: path, machine: host.Machine{Root: root}}}
	t.Cleanup(s.close)
	return s
}

// TestNeedsOfOthers has rootless engines that are not of this machine's users: what they need is not looked for here.
func TestNeedsOfOthers(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("API-Version", "1.41")
		switch {
		case strings.HasSuffix(r.URL.Path, "/version"):
			fmt.Fprint(w, `{"Version":"5.4.2","Arch":"amd64","ApiVersion":"1.41","Components":[{"Name":"Podman Engine","Version":"5.4.2"}]}`)
		case strings.HasSuffix(r.URL.Path, "/info"):
			fmt.Fprint(w, `{"Driver":"overlay","DockerRootDir":"/storage","SecurityOptions":["name=rootless"]}`)
		}
	}))
	t.Cleanup(server.Close)
	addresses := map[string]string{"over the network": "tcp://" + server.Listener.Addr().String()}
	if os.Getuid() == 0 { // as in a container that has a user's socket mounted, whose owner is root there
		dir, err := os.MkdirTemp("", "doctor") // short: a socket's path has 107 bytes
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		l, err := net.Listen("unix", filepath.Join(dir, "s"))
		if err != nil {
			t.Fatal(err)
		}
		mounted := httptest.NewUnstartedServer(server.Config.Handler)
		_ = mounted.Listener.Close()
		mounted.Listener = l
		mounted.Start()
		t.Cleanup(mounted.Close)
		addresses["of whom root here is"] = "unix://" + l.Addr().String()
	}
	for name, address := range addresses {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := sessionOf(t, runners+"executor = \"docker\"\n[runners.docker]\nimage = \"localhost/x\"\nhost = \""+address+"\"\n", true)
			s.configuration(t.Context())
			for _, c := range s.engineChecks() {
				if r := c.Look(t.Context()); r.Severity != finding.Fine {
					t.Fatalf("%+v", r)
				}
			}
			for _, c := range s.rest() {
				switch c.Name {
				case "storage", "builders", "disk", "gitlab", "clock", "token":
				default:
					t.Errorf("this machine is checked for %s, %s", c.Name, c.About)
				}
			}
		})
	}
}

// TestOpenConfiguration closes a file that every user reads to all but the runner's, which goes on reading one of another owner.
func TestOpenConfiguration(t *testing.T) {
	t.Parallel()
	s := sessionOf(t, runners+"executor = \"shell\"\n", false)
	if err := os.Chmod(s.config, 0o644); err != nil { //nolint:gosec // what is looked for
		t.Fatal(err)
	}
	for uid, want := range map[int]string{
		os.Getuid():     "chmod 600 " + s.config,
		os.Getuid() + 7: fmt.Sprintf("sudo chown %[1]d %[2]s && sudo chmod 600 %[2]s", os.Getuid()+7, s.config),
	} {
		s.program.UID, s.machine.UID = uid, uid
		if got := s.configuration(t.Context()); got.Severity != finding.Warning || finding.Line(got.Mend) != want {
			t.Errorf("as %d: %+v, want %s", uid, got, want)
		}
	}
}

// TestParts are what of several entries with one engine is put together.
func TestParts(t *testing.T) {
	t.Parallel()
	const docker = "executor = \"docker\"\n[runners.docker]\n" + nobodys
	s := sessionOf(t, runners+docker+"image = \"a.invalid/x\"\nmemory = \"1g\"\nvolumes = [\"/a:/a\", \"/cache\"]\nnetwork_mode = \"none\"\n"+
		strings.ReplaceAll(runners, "one", "two")+docker+"image = \"b.invalid/x\"\nhelper_image = \"c.invalid/x\"\ncpuset_cpus = \"0\"\nvolumes = [\"/b:/b\"]\nsecurity_opt = [\"label=disable\"]\n"+
		"[[runners.docker.services]]\nname = \"d.invalid/x\"\n", false)
	s.configuration(t.Context())
	if checks := s.engineChecks(); len(checks) != 1 {
		t.Fatalf("%d engines", len(checks))
	}
	e := s.engines[0]
	for _, c := range []struct {
		what      string
		got, want []string
	}{
		{"images", e.images(), []string{"a.invalid/x", "b.invalid/x", "c.invalid/x", "d.invalid/x"}},
		{"controllers", e.controllers(), []string{"pids", "memory", "cpuset"}},
		{"volumes", e.volumes(), []string{"/a:/a", "/cache"}},
	} {
		if diff := cmp.Diff(c.want, c.got); diff != "" {
			t.Errorf("%s: %s", c.what, diff)
		}
	}
	if !e.usesNetwork() {
		t.Error("the second entry's jobs have networks")
	}
}
