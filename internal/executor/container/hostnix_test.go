package container_test

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	ctr "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/container"
	"gitlab.com/skerry/skerry/internal/executor/container/enginetest"
	"gitlab.com/skerry/skerry/internal/nixstore/nixtest"
)

// hostNix is Nix of a machine, with a daemon that root has started.
type hostNix struct {
	version string
	dir     string       // of nixtest.Nix
	nix     *nixtest.Nix // nil: not for this user
}

// hostVariable begins the names of variables that hold directories of what root has started, for tests that are run again
// as another user.
const hostVariable = enginetest.PassPrefix + "NIX_"

// newHostNix starts a daemon, with further lines in its nix.conf.
func newHostNix(t *testing.T, version, conf string) hostNix {
	t.Helper()
	variable := hostVariable + t.Name() + "_" + strings.ReplaceAll(version, ".", "_")
	if os.Getuid() != 0 {
		return hostNix{version: version, dir: os.Getenv(variable)}
	}
	n := nixtest.New(t, version)
	n.WriteFile(t, "etc/nix.conf", "allowed-users = *\nsandbox = false\nbuild-users-group =\nsubstituters =\nexperimental-features = nix-command flakes\n"+conf)
	h := hostNix{version, n.Dir, n}
	for _, dir := range []string{n.Dir, h.store(), filepath.Dir(h.socket())} {
		if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // as on a machine
			t.Fatal(err)
		}
	}
	n.Daemon(t)
	if err := os.Setenv(variable, n.Dir); err != nil { //nolint:usetesting // it is this test's alone, which is parallel
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Unsetenv(variable) })
	return h
}

// collect has collections run, one after the other, until the test ends.
func (h hostNix) collect(t *testing.T) {
	t.Helper()
	if h.nix == nil {
		return // root does
	}
	collecting, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 1; collecting.Err() == nil; i++ {
			if _, stderr, err := h.nix.Run(collecting, nixtest.Direct(), "nix-store", "--gc"); err != nil && collecting.Err() == nil {
				t.Errorf("a collection: %v\n%s", err, stderr)
			}
			if err := os.WriteFile(filepath.Join(h.dir, "collections"), []byte(strconv.Itoa(i)), 0o644); err != nil { //nolint:gosec // for the other user
				t.Error(err)
			}
		}
	}()
	t.Cleanup(func() {
		stop()
		<-done
	})
}

func (h hostNix) socket() string { return (&nixtest.Nix{Dir: h.dir}).Socket() }
func (h hostNix) store() string  { return filepath.Join(h.dir, "nix/store") }

// collections is how many have ended.
func (h hostNix) collections(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(h.dir, "collections"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	n, _ := strconv.Atoi(string(b)) // 0 while it is written
	return n
}

func (h hostNix) options() *container.Nix {
	return &container.Nix{Host: true, HostSocket: h.socket(), HostStore: h.store()}
}

// built is a line that builds a derivation which writes its name, by the machine's own shell, and prints where.
func built(name, flags string) string {
	return `nix-build --no-out-link ` + flags + ` -E 'derivation { name = "` + name + `"; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-c" "echo ` + name + ` > $out" ]; }'`
}

// TestHostNix gives jobs a machine's Nix, whose daemon trusts root, and has root in them try to be more than anybody,
// while the machine collects all the time.
func TestHostNix(t *testing.T) { //nolint:paralleltest // its collections would run while it waits for others
	enginetest.NotRaced(t)
	enginetest.NixBases(t)
	hosts := []hostNix{newHostNix(t, "2.8", ""), newHostNix(t, "2.26", "")}
	for _, h := range hosts {
		h.collect(t)
	}
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) {
		b := newBench(t, e)
		for _, h := range hosts {
			for _, client := range []enginetest.Nix{enginetest.NixOld, enginetest.NixNew} {
				t.Run("daemon "+h.version+", client of "+string(client), func(t *testing.T) { testHostNix(t, b, h, client) })
			}
		}
	})
}

func testHostNix(t *testing.T, b *bench, h hostNix, client enginetest.Nix) {
	t.Helper()
	o := b.o
	o.Nix = h.options()
	r := b.prepare(t, o, theJob(b.e.NixImage(t, client)))
	r.script(executor.Helper, "true") // comes first, as with every job
	path := lastLine(r.script(executor.Build, built(b.e.Name+string(client), "")+" 2>/dev/null"))
	if !strings.HasPrefix(path, "/nix/store/") {
		t.Fatalf("the job built %q\n%s", path, r.log.String())
	}
	if _, err := os.Stat(filepath.Join(h.store(), filepath.Base(path))); err != nil {
		t.Error("it is not in the machine's store: ", err)
	}
	for line, want := range map[string]string{
		"cat " + path: b.e.Name + string(client),
		"touch /nix/store/mine || rm -rf " + path + " || cat " + path: b.e.Name + string(client),
		"touch /nix/store/mine":                          "Read-only file system",
		"rm -f /nix/var/nix/daemon-socket/socket":        "Read-only file system",
		"nix-store --gc":                                 "Skerry itself collects",
		"nix-store --delete --ignore-liveness " + path:   "Skerry",
		"nix-store --verify --check-contents --repair":   "Skerry",
		built("loose", "--option build-hook /bin/sh"):    "no effect",
		"ls /nix/var/nix/db /nix/var/nix/gcroots/skerry": "No such file",
		"echo remote is $NIX_REMOTE":                     "remote is daemon",
	} {
		if got := r.script(executor.Build, "{ "+line+"; } 2>&1 || true"); !strings.Contains(got, want) {
			t.Errorf("%s says %q, want %q in it", line, got, want)
		}
	}
	if h.version == "2.26" && client == enginetest.NixNew {
		if got := r.script(executor.Build, "nix store info --json"); !strings.Contains(got, `"trusted":0`) && !strings.Contains(got, `"trusted":false`) {
			t.Errorf("the daemon trusts a job: %s", got)
		}
	}
	if got := r.script(executor.Helper, "ls -ln /.skerry/nix; touch /.skerry/nix/x 2>&1 || true"); !strings.Contains(got, "Read-only file system") {
		t.Errorf("the helper has the daemon's directory writable: %s", got)
	}
	before := h.collections(t)
	eventually(t, "the machine collects", func() bool { return h.collections(t) > before+1 })
	if got := r.script(executor.Build, "cat "+path+" && nix-store --check-validity "+path); got != b.e.Name+string(client) {
		t.Errorf("after collections: %q", got)
	}
}

// lastLine is the last line of what a job wrote.
func lastLine(said string) string { return said[strings.LastIndexByte(said, '\n')+1:] }

// TestHostNixTrusts has the machine's daemon trust everybody: no job is served, and each is told whom to leave out.
func TestHostNixTrusts(t *testing.T) {
	t.Parallel()
	enginetest.NixBases(t)
	h := newHostNix(t, "2.26", "trusted-users = root *\n")
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) {
		b := newBench(t, e)
		b.o.Nix = h.options()
		r := b.prepare(t, b.o, theJob(e.NixImage(t, enginetest.NixNew)))
		r.script(executor.Helper, "true")
		want := "user id 65534"
		if e.Name == "rootless" {
			want = "(65534 in the gateway's container)"
		}
		got := r.script(executor.Build, built("any", "")+" 2>&1 || true")
		if !strings.Contains(got, want) || !strings.Contains(got, "trusted-users") {
			t.Errorf("a job is told %q", got)
		}
	})
}

// TestHostNixTools gives jobs the machine's programs: first in PATH, or by their names in the store.
func TestHostNixTools(t *testing.T) {
	t.Parallel()
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) {
		b := newBench(t, e)
		dir := t.TempDir()
		program := filepath.Join(dir, "store", "00000000000000000000000000000000-nix", "bin", "nix")
		for _, d := range []string{filepath.Dir(program), filepath.Join(dir, "daemon-socket")} {
			if err := os.MkdirAll(d, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(program, []byte("#!/bin/sh\necho the machine\n"), 0o755); err != nil { //nolint:gosec // a program
			t.Fatal(err)
		}
		o := b.o
		o.Nix = &container.Nix{Host: true, Path: true, HostSocket: filepath.Join(dir, "daemon-socket/socket"), HostStore: filepath.Join(dir, "store"), HostPrograms: []string{program}}
		r := b.prepare(t, o, theJob(""))
		if got := r.script(executor.Build, "nix; /nix/store/*-nix/bin/nix; command -v nix"); got != "the machine\nthe machine\n/nix/store/00000000000000000000000000000000-nix/bin/nix" {
			t.Errorf("nix is %q", got)
		}
		none := *o.Nix
		none.HostPrograms = []string{"/bin/sh"}
		o.Nix = &none
		r = b.prepare(t, o, theJob(""))
		if got := r.script(executor.Build, "echo $PATH"); strings.Contains(got, "/nix/store") {
			t.Error(got)
		}
		if said := r.log.String(); !strings.Contains(said, "does not lie in its store") {
			t.Errorf("the job is told %q", said)
		}
	})
}

// TestHostNixClosure gives jobs of the machine's store what they know, and nothing that the machine or other jobs have.
func TestHostNixClosure(t *testing.T) {
	t.Parallel()
	enginetest.NotRaced(t)
	enginetest.NixBases(t)
	h := newHostNix(t, "2.26", "")
	if h.nix != nil {
		for name, script := range map[string]string{
			"machines-nix": `PATH=/bin:/usr/bin; mkdir -p $out/bin; echo echo the machine > $out/bin/nix; chmod +x $out/bin/nix`,
			"secret":       "echo secret > $out",
		} {
			h.nix.Must(t, nixtest.Direct(), "nix-build", "--no-out-link", "-E", `derivation { name = "`+name+`"; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-c" "`+script+`" ]; }`)
		}
	}
	programs, err := filepath.Glob(h.store() + "/*-machines-nix/bin/nix")
	if err != nil || len(programs) != 1 {
		t.Fatal(programs, err)
	}
	tools := filepath.Base(filepath.Dir(filepath.Dir(programs[0])))
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) {
		b := newBench(t, e)
		o := b.o
		o.Nix = h.options()
		o.Nix.Closure, o.Nix.Path, o.Nix.HostPrograms = true, true, programs
		for range 2 { // the second job does not see what the first one has
			r := b.prepare(t, o, theJob(e.NixImage(t, enginetest.NixNew)))
			r.script(executor.Helper, "true") // comes first, as with every job
			if got := r.script(executor.Build, "ls /nix/store; nix"); got != tools+"\nthe machine" {
				t.Errorf("at first the job sees %q", got)
			}
			own := lastLine(r.script(executor.Build, built(e.Name+"-own", "")+" 2>/dev/null"))
			for line, want := range map[string]string{
				"cat " + own:                   e.Name + "-own",
				"ls /nix/store | wc -l":        "3", // with the derivation
				"touch " + own + " 2>&1 || :":  "Read-only file system",
				"rm -rf " + own + " 2>&1 || :": "Read-only file system",
				"nix-store --gc --print-roots": "",
				"nix-store --query --referrers-closure " + own + "; ls -R /nix/store | grep -c secret || :": own + "\n0",
			} {
				if got := r.script(executor.Build, line); got != want && (want == "" || !strings.Contains(got, want)) {
					t.Errorf("%s says %q, want %q", line, got, want)
				}
			}
			if err := r.env.Close(t.Context()); err != nil {
				t.Error(err)
			}
		}
	})
}

// TestHostNixMissing is told where nothing is, and where it could not be.
func TestHostNixMissing(t *testing.T) {
	t.Parallel()
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) {
		b := newBench(t, e)
		nowhere := filepath.Join(t.TempDir(), "nowhere")
		for what, n := range map[string]*container.Nix{
			"no daemon": {Host: true, HostSocket: nowhere + "/socket", HostStore: t.TempDir()},
			"no store":  {Host: true, HostSocket: filepath.Join(t.TempDir(), "socket"), HostStore: nowhere},
		} {
			o := b.o
			o.Nix = n
			place := executor.Build
			if what == "no daemon" {
				place = executor.Helper
			}
			if _, _, err := b.prepare(t, o, theJob("")).dial(place); err == nil || !strings.Contains(err.Error(), "host_socket") {
				t.Errorf("%s: %v", what, err)
			}
		}
		remote := &bench{e: e, o: b.o, host: &container.Host{Remote: true}, owner: b.owner}
		t.Cleanup(func() { _ = remote.host.Close(context.Background()) })
		remote.o.Nix = &container.Nix{Host: true, HostSocket: "/run/socket"}
		if _, _, err := remote.prepare(t, remote.o, theJob("")).dial(executor.Helper); err == nil || !strings.Contains(err.Error(), `store = "shared"`) {
			t.Error("on another machine: ", err)
		}
	})
}

// TestNixByHand gives jobs a daemon in the old ways, with nothing of [runners.nix]: they work as in GitLab Runner, and
// root in a job is trusted, which is what the warning is about.
func TestNixByHand(t *testing.T) {
	t.Parallel()
	enginetest.NotRaced(t)
	enginetest.NixBases(t)
	h := newHostNix(t, "2.26", "")
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) {
		b := newBench(t, e)
		image := e.NixImage(t, enginetest.NixNew)
		works := func(t *testing.T, o container.Options, trusted bool) {
			t.Helper()
			r := b.prepare(t, o, theJob(image))
			for line, want := range map[string]string{
				built("by-hand", "") + " 2>/dev/null | xargs cat":                 "by-hand",
				"nix --extra-experimental-features nix-command store info --json": `"trusted":` + map[bool]string{true: "1", false: "0"}[trusted],
				"touch /nix/store/mine 2>&1 || true":                              "Read-only file system",
				"nix-store --gc 2>&1 | tail -n 1":                                 "freed",
			} {
				if got := r.script(executor.Build, "export NIX_REMOTE=daemon; "+line); !strings.Contains(got, want) {
					t.Errorf("%s says %q, want %q in it", line, got, want)
				}
			}
		}
		t.Run("volumes_from", func(t *testing.T) {
			o := b.o
			o.VolumesFrom = []string{nixDaemonByHand(t, e, image) + ":ro"}
			works(t, o, true)
		})
		t.Run("the host's socket", func(t *testing.T) {
			o := b.o
			o.Volumes = []string{h.store() + ":/nix/store:ro", filepath.Dir(h.socket()) + ":/nix/var/nix/daemon-socket:ro"}
			works(t, o, e.Name != "rootless")
		})
	})
}

// nixDaemonByHand makes a container with a daemon as NixOS's manual does, and returns its name.
func nixDaemonByHand(t *testing.T, e enginetest.Engine, image string) string {
	t.Helper()
	api, engine, name := e.Client(t), e.Connect(t), "skerrytest-nix-daemon-"+executor.NewRef("x").ID
	t.Cleanup(func() {
		if err := engine.Remove(context.Background(), name); err != nil {
			t.Error(err)
		}
	})
	if _, err := api.ContainerCreate(t.Context(), client.ContainerCreateOptions{Name: name, HostConfig: &ctr.HostConfig{}, Config: &ctr.Config{
		Image: image, Volumes: map[string]struct{}{"/nix/store": {}, "/nix/var/nix/db": {}, "/nix/var/nix/daemon-socket": {}},
		Entrypoint: []string{"/bin/sh", "-c", `mkdir -p /etc/nix && printf 'sandbox = false\nbuild-users-group =\nsubstituters =\n' > /etc/nix/nix.conf && exec nix-daemon`},
	}}); err != nil {
		t.Fatal(err)
	}
	if _, err := api.ContainerStart(t.Context(), name, client.ContainerStartOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the daemon listens", func() bool {
		_, err := engine.Exec(t.Context(), name, "0:0", "test", "-S", "/nix/var/nix/daemon-socket/socket")
		return err == nil
	})
	return name
}
