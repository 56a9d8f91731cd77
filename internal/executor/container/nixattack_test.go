package container_test

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/container/enginetest"
	"gitlab.com/skerry/skerry/internal/executor/container/nixdaemon"
	"gitlab.com/skerry/skerry/internal/executor/container/nixspec"
	"gitlab.com/skerry/skerry/internal/nixstore/domain"
	"gitlab.com/skerry/skerry/internal/nixstore/nixd"
)

// attackImage is a busybox with what hostile jobs bring.
const attackImage = "skerry.test/nixattack:latest"

// loadAttack gives the image to all engines.
func loadAttack(t *testing.T) {
	t.Helper()
	enginetest.NixBases(t)
	if enginetest.Again() || len(enginetest.All()) == 0 {
		return
	}
	program := filepath.Join(t.TempDir(), "attacker")
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-o", program, "gitlab.com/skerry/skerry/internal/nixstore/nixtest/attacker")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	raw, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range enginetest.All() {
		e.Load(t, enginetest.Image{Name: attackImage, Files: map[string]string{
			"/bin/attacker": string(raw),
			// What a build sees; with box it is a path of the store.
			"/attack/look.nix": `{ box, name, noChroot ? false }: derivation {
				inherit name; __noChroot = noChroot; system = builtins.currentSystem; builder = "${builtins.storePath box}/busybox";
				args = [ "sh" "-c" "{ echo root: $($builder ls -a /); $builder cat /proc/net/dev; echo user $($builder id -u); } > $out" ];
			}`,
			// A build with the daemon's network looks for the daemon.
			"/attack/search.nix": `{ attacker }: derivation {
				name = "search"; system = builtins.currentSystem; builder = builtins.storePath attacker; args = [ "search" ];
				outputHashMode = "flat"; outputHashAlgo = "sha256"; outputHash = "0000000000000000000000000000000000000000000000000000000000000000";
			}`,
			// As many processes as a build can have.
			"/attack/fork.nix": `{ box }: derivation {
				name = "fork"; system = builtins.currentSystem; builder = "${builtins.storePath box}/busybox";
				args = [ "sh" "-c" "(while $builder sleep 1000 & do :; done); exec $builder sleep 1000" ];
			}`,
		}})
	}
}

const (
	evil   = "/nix/store/11111111111111111111111111111111-evil"
	socket = "/nix/var/nix/daemon-socket/socket"
)

// attack is something that root in a job tries by a shell's line.
type attack struct {
	line string
	want string // in what it says
	not  string // in what it says; empty: anything
	deep bool   // tried with one trust setting only
}

// attacks are all that is tried; BOX is a busybox in the store, VICTIM a path that another job of the domain has built,
// FOREIGN one of another domain, LURE a server of the test.
func attacks() map[string]attack {
	look := "cat $(nix-build --no-out-link /attack/look.nix --argstr box BOX --argstr name "
	lure := "--option substituters http://LURE --option trusted-substituters http://LURE --option require-sigs false --option trusted-public-keys '' "
	return map[string]attack{
		"trusted": {line: "nix store info --json || nix store ping --json", want: `"trusted":0`},
		"sandbox by option": {
			line: look + "option --option sandbox false --option sandbox-paths / --option build-users-group '' --option extra-sandbox-paths /.skerry)",
			want: "root: ", not: ".skerry",
		},
		"sandbox by variable": {line: "export NIX_CONFIG='sandbox = false'; " + look + "variable)", want: "lo:", not: "eth0", deep: true},
		"sandbox by nix.conf": {line: "echo 'sandbox = false' >> /etc/nix/nix.conf; " + look + "conf)", want: "user ", not: "user 0", deep: true},
		"sandbox by attribute": {
			line: look + "attribute --arg noChroot true --option sandbox relaxed)", want: "__noChroot",
		},
		"hooks":       {line: look + "hooks --option post-build-hook /attack/hook --option pre-build-hook /attack/hook) 2>&1", want: "'post-build-hook' has no effect", deep: true},
		"substituter": {line: "nix-store --realise " + evil + " " + lure, want: "untrusted substituter"},
		"unsigned copy": {
			line: "attacker cache /tmp/cache " + evil + " && nix copy --no-check-sigs --from file:///tmp/cache " + evil, want: "lacks a signature",
		},
		"unsigned import":    {line: "attacker export " + evil + " | nix-store --import", want: "lacks a signature", deep: true},
		"unsigned by force":  {line: "attacker force " + evil + " " + socket, want: "forced: false"},
		"collect":            {line: "nix-store --gc", want: "Skerry itself collects"},
		"collect by profile": {line: "nix-collect-garbage -d", want: "Skerry itself collects", deep: true},
		"collect, new":       {line: "nix store gc", want: "Skerry itself collects", deep: true},
		"delete":             {line: "nix-store --delete --ignore-liveness VICTIM; nix store delete VICTIM", want: "Skerry itself collects"},
		"repair":             {line: "nix-store --repair-path VICTIM; nix store repair VICTIM", want: "not supported"},
		"repair all":         {line: "nix-store --verify --check-contents --repair", want: "refuses", deep: true},
		"repair by a build":  {line: "nix-store --realise --repair VICTIM", want: "refuses", deep: true},
		"optimise":           {line: "nix-store --optimise; nix store optimise", want: "refuses", deep: true},
		"roots of others":    {line: "nix-store --gc --print-roots; echo done", want: "done", not: "skerry/"},
		"write":              {line: "touch /nix/store/mine; rm -rf VICTIM; echo no > VICTIM; chmod 777 VICTIM; cat VICTIM", want: "victim"},
		"write, mounted anew": {
			line: "mount -o remount,rw /nix/store; mount --bind /nix/store /mnt -o rw; umount -l /nix/store; unshare -m mount -o remount,rw,bind /nix/store; " +
				"unshare -Urm sh -c 'mount -o remount,rw,bind /nix/store; touch /nix/store/mine'; touch /nix/store/mine; ls /nix/store/mine",
			want: "/nix/store/mine: No such file",
		},
		"write, by device": {
			line: "d=$(mountpoint -d /nix/store); mknod /tmp/disk b ${d%:*} ${d#*:}; head -c 512 /tmp/disk | wc -c", want: "0", not: "512",
		},
		"socket replaced": {
			line: "rm -f " + socket + "; cp /bin/attacker " + socket + "; umount -l /nix/var/nix/daemon-socket; nix store info --json || nix store ping --json", want: `"trusted":0`,
		},
		"daemon's socket":           {line: "attacker search", want: "looked at", not: "found"},
		"daemon's socket by builds": {line: "nix-build --no-out-link /attack/search.nix --argstr attacker $(nix-store --add /bin/attacker)", want: "looked at", not: "found"},
		"another domain":            {line: "cat FOREIGN || nix-store --realise FOREIGN || echo none of mine", want: "none of mine"},
		"malformed":                 {line: "attacker garbage 200 " + socket + " && nix-store --check-validity VICTIM && echo serves", want: "serves"},
	}
}

// TestNixAttacks has root in jobs try what the store's safety depends on. Then the store is whole, the daemon the same,
// and others work.
func TestNixAttacks(t *testing.T) {
	t.Parallel()
	enginetest.NotRaced(t)
	loadAttack(t)
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) {
		for _, trust := range []domain.Trust{domain.Runner, domain.Protected, domain.Job} {
			t.Run(string(trust), func(t *testing.T) { testAttacks(t, e, trust) })
		}
	})
}

func testAttacks(t *testing.T, e enginetest.Engine, trust domain.Trust) {
	t.Helper()
	b := nixBench(t, e, enginetest.NixNew, trust)
	b.o.Nix.Path = true
	lure, lured := newLure(t)
	r := b.prepare(t, b.o, theJob(attackImage))
	victim := r
	if trust != domain.Job {
		victim = b.prepare(t, b.o, theJob(""))
	}
	replace := []string{"VICTIM", victim.script(executor.Build, build("victim")), "LURE", lure}
	if victim != r { // nothing but its having been there holds the path
		if err := victim.env.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	foreign := "/nix/store/22222222222222222222222222222222-foreign"
	if trust != domain.Runner {
		closed := theJob("")
		closed.Git.Protected = true
		foreign = b.prepare(t, b.o, closed).script(executor.Build, build("foreign"))
	}
	replace = append(replace, "FOREIGN", foreign, "BOX", r.script(executor.Build, addBox))
	for name, a := range attacks() {
		if a.deep && trust != domain.Runner {
			continue
		}
		line := strings.NewReplacer(replace...).Replace("set +e; { " + a.line + "; } 2>&1; true")
		if got := r.script(executor.Build, line); !strings.Contains(got, a.want) || a.not != "" && strings.Contains(got, a.not) {
			t.Errorf("%s: %s\nsays %q; want %q in it, and not %q", name, line, got, a.want, a.not)
		}
	}
	if lured() {
		t.Error("the daemon has asked a binary cache that a job named")
	}
	if got := r.script(executor.Build, "nix-store --check-validity "+evil+" 2>&1 || cat "+evil+" 2>&1 || echo never there"); !strings.HasSuffix(got, "never there") {
		t.Errorf("a path that was forged: %q", got)
	}
	if trust == domain.Runner {
		b.exhaust(t, r)
	}
	b.wholeNix(t)
}

// newLure is a server that nobody should come to; reached tells whether somebody did.
func newLure(t *testing.T) (address string, reached func() bool) {
	t.Helper()
	var visits atomic.Int32
	address = os.Getenv(enginetest.AddressVariable)
	if address == "" {
		return "127.0.0.1:1", func() bool { return false }
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		t.Fatal(err)
	}
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { //nolint:gosec // of a test
		visits.Add(1)
		http.NotFound(w, r)
	})}}
	s.Start()
	t.Cleanup(s.Close)
	return l.Addr().String(), func() bool { return visits.Load() > 0 }
}

// exhaust opens as many connections as a job likes, while another job builds.
func (b *bench) exhaust(t *testing.T, r *run) {
	t.Helper()
	c, _, err := r.dial(executor.Build)
	if err != nil {
		t.Fatal(err)
	}
	s := nixStage("attacker hold 500 " + socket)
	s.ID = "s-hold"
	if _, err := c.Start(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	helper, _, err := r.dial(executor.Helper)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the gateway has as many connections as it takes", func() bool {
		n, err := helper.Nix(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return n.Connections >= 128
	})
	other := b.prepare(t, b.o, theJob(""))
	if got := other.script(executor.Build, build("meanwhile")); !strings.HasSuffix(got, "-meanwhile") {
		t.Errorf("another job built %q", got)
	}
	if s, err := c.Status(t.Context(), "s-hold"); err != nil || s.Result != nil {
		t.Errorf("the connections were not held: %+v, %v", s, err)
	}
}

// wholeNix checks the stores and daemons of the bench: no path differs from its hash, and no daemon has ended.
func (b *bench) wholeNix(t *testing.T) {
	t.Helper()
	engine := b.e.Connect(t)
	for _, s := range b.daemons(t) {
		var v nixd.Verified
		said, err := nixdaemon.Run(t.Context(), engine, s, nixd.CommandVerify)
		if err == nil {
			err = json.Unmarshal(said, &v)
		}
		if err != nil || !v.OK {
			t.Errorf("the store: %s, %v", said, err)
		}
		said, err = nixdaemon.Run(t.Context(), engine, s, nixd.CommandInfo)
		var i nixd.Info
		if err == nil {
			err = json.Unmarshal(said, &i)
		}
		if err != nil || i.Restarts != 0 || i.Sandbox != "on" {
			t.Errorf("the daemon: %s, %v", said, err)
		}
	}
}

// daemons are those of the bench.
func (b *bench) daemons(t *testing.T) (all []nixdaemon.Spec) {
	t.Helper()
	containers, _, err := b.e.Connect(t).Owned(context.WithoutCancel(t.Context()), nixspec.LabelOwner, string(b.owner))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range containers {
		if c.Labels[nixspec.LabelSpec] != "" {
			all = append(all, nixdaemon.Spec{Owner: string(b.owner), Domain: c.Labels[nixspec.LabelDomain]})
		}
	}
	return all
}

// TestNixForkBomb has a build start as many processes as it can: others build meanwhile.
func TestNixForkBomb(t *testing.T) {
	t.Parallel()
	enginetest.NotRaced(t)
	loadAttack(t)
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) {
		if e.Name != "docker" { // Podman's engines limit the processes of every container anyway
			return
		}
		b := nixBench(t, e, enginetest.NixNew, domain.Runner)
		b.o.Nix.Path = true
		r, other := b.prepare(t, b.o, theJob(attackImage)), b.prepare(t, b.o, theJob(""))
		box := r.script(executor.Build, addBox)
		c, _, err := r.dial(executor.Build)
		if err != nil {
			t.Fatal(err)
		}
		bomb := nixStage("nix-build --no-out-link /attack/fork.nix --argstr box " + box)
		bomb.ID = "s-fork"
		if _, err := c.Start(t.Context(), bomb); err != nil {
			t.Fatal(err)
		}
		engine, before := e.Connect(t), ""
		eventually(t, "the build has no more processes", func() bool {
			said, err := engine.Exec(t.Context(), b.daemons(t)[0].Name(), "0:0", "sh", "-c", "ls -d /proc/[0-9]* | wc -l")
			if err != nil {
				t.Fatal(err)
			}
			was := before
			before = strings.TrimSpace(string(said))
			return len(before) >= 4 && before == was
		})
		if before >= "5000" {
			t.Errorf("a build has %s processes", before)
		}
		if got := other.script(executor.Build, build("meanwhile")); !strings.HasSuffix(got, "-meanwhile") {
			t.Errorf("another job built %q", got)
		}
		b.wholeNix(t)
	})
}

// TestNixImageOfLinks takes an image whose directories for Nix lead elsewhere: nothing of it comes to be outside of its
// container, and the environment can be removed.
func TestNixImageOfLinks(t *testing.T) {
	t.Parallel()
	enginetest.NotRaced(t)
	enginetest.NixBases(t)
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) {
		for name, links := range map[string]map[string]string{
			"configuration": {"/etc/nix": "/.skerry/state"},
			"state":         {"/nix/var/nix": "/builds/elsewhere"},
			"all":           {"/nix": "/.skerry/state"},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				e.Load(t, enginetest.Image{Name: busybox})
				b := nixBench(t, e, enginetest.NixNew, domain.Runner)
				r := b.prepare(t, b.o, theJob(image(t, e, enginetest.Image{Links: links})))
				_, _, err := r.dial(executor.Build)
				t.Log("the job's place:", err)
				helper := r.script(executor.Helper, "find /.skerry/state /.skerry/nix -name 'nix.conf*' || true")
				if helper != "" {
					t.Errorf("in the helper is now %q", helper)
				}
				entries, err := os.ReadDir(filepath.Dir(b.o.Dir))
				if err != nil || len(entries) != 1 {
					t.Errorf("beside the environments: %v, %v", entries, err)
				}
			})
		}
	})
}
