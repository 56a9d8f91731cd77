package container_test

import (
	"context"
	"encoding/json"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"gitlab.com/skerry/skerry/internal/agent/client"
	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
	"gitlab.com/skerry/skerry/internal/executor/container/enginetest"
	"gitlab.com/skerry/skerry/internal/executor/container/nixdaemon"
	"gitlab.com/skerry/skerry/internal/executor/container/nixspec"
	"gitlab.com/skerry/skerry/internal/nixstore/domain"
	"gitlab.com/skerry/skerry/internal/nixstore/nixd"
)

// TestNixAttacks has root in jobs try what the store's safety depends on, with every trust setting, side by side. Then the
// stores are whole, the daemons the same, and others work.
func TestNixAttacks(t *testing.T) {
	t.Parallel()
	enginetest.NotRaced(t)
	loadAttack(t)
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) {
		b := nixBench(t, e, enginetest.NixNew, domain.Runner)
		b.o.Nix.Path = true
		lure, lured := newLure(t)
		sieges := b.besiege(t)
		together(t, sieges, func(s *siege) { s.attack(t, lure, sieges) })
		if lured() {
			t.Error("the daemon has asked a binary cache that a job named")
		}
		together(t, sieges, func(s *siege) { s.exhaust(t) })
		if got := b.prepare(t, b.o, theJob("")).script(executor.Build, build("meanwhile")); !strings.HasSuffix(got, "-meanwhile") {
			t.Errorf("another job built %q", got)
		}
		b.wholeNix(t) // while all gateways have as many connections as they take
		for _, s := range sieges {
			if st, err := s.agent.Status(t.Context(), "s-hold"); err != nil || st.Result != nil {
				t.Errorf("%s: the connections were not held: %+v, %v", s.name, st, err)
			}
		}
	})
}

// siege is a hostile job in a domain that no other siege has.
type siege struct {
	name   string
	trust  domain.Trust
	closed bool // of a protected ref
	r      *run
	victim string // what another job of the domain has built, which is over, or this one
	box    string
	agent  *client.Client
}

// together does something for all sieges at once, which takes hardly longer than for one of them.
func together(t *testing.T, sieges []*siege, do func(*siege)) {
	t.Helper()
	var all sync.WaitGroup
	for _, s := range sieges {
		all.Go(func() { do(s) })
	}
	all.Wait()
	if t.Failed() {
		t.FailNow() // nothing more can be said of what is half done
	}
}

// besiege begins hostile jobs with every trust setting. The first daemon proves the sandbox for the others.
func (b *bench) besiege(t *testing.T) []*siege {
	t.Helper()
	first := &siege{name: "runner", trust: domain.Runner}
	first.begin(t, b, "")
	var i nixd.Info
	said, err := nixdaemon.Run(t.Context(), b.e.Connect(t), b.daemons(t)[0], nixd.CommandInfo)
	if err == nil {
		err = json.Unmarshal(said, &i)
	}
	if err != nil {
		t.Fatalf("the daemon: %s, %v", said, err)
	}
	others := []*siege{
		{name: "all", trust: domain.All}, {name: "protected", trust: domain.Protected}, {name: "protected-closed", trust: domain.Protected, closed: true},
		{name: "project", trust: domain.Project}, {name: "job", trust: domain.Job},
	}
	together(t, others, func(s *siege) { s.begin(t, b, i.Fingerprint) })
	return append(others, first)
}

// begin begins the job, after another one of its domain.
func (s *siege) begin(t *testing.T, b *bench, proved string) {
	t.Helper()
	o, nix := b.o, *b.o.Nix
	nix.Trust, nix.Daemon.Proved, o.Nix = s.trust, proved, &nix
	one := func(image string) *run {
		j := theJob(image)
		j.Git.Protected = s.closed
		return b.prepare(t, o, j)
	}
	var other *run
	if s.trust == domain.Runner { // one is enough: an environment takes longer than what is tried in it
		other = one("")
		s.victim = other.script(executor.Build, build("victim-"+s.name))
		if err := other.env.Close(t.Context()); err != nil { // nothing but its having been there holds the path
			t.Error(err)
		}
	}
	s.r = one(attackImage)
	if other == nil {
		s.victim = s.r.script(executor.Build, build("victim-"+s.name))
	}
	s.box = s.r.script(executor.Build, addBox)
	var err error
	if s.agent, _, err = s.r.dial(executor.Build); err != nil {
		t.Error(err)
	}
}

// attack tries everything.
func (s *siege) attack(t *testing.T, lure string, sieges []*siege) {
	t.Helper()
	all := attacks()
	maps.DeleteFunc(all, func(_ string, a attack) bool { return a.deep && s.trust != domain.Runner })
	var foreign []string
	for _, other := range sieges {
		if other != s {
			foreign = append(foreign, other.victim)
		}
	}
	line := "export box=" + s.box + " victim=" + s.victim + " lure=" + lure + " s=" + socket + " foreign='" + strings.Join(foreign, " ") + "'; sh /attack/run " +
		strings.Join(slices.Sorted(maps.Keys(all)), " ")
	said := s.r.script(executor.Build, line)
	for _, part := range strings.Split(said, "=== ")[1:] {
		name, words, _ := strings.Cut(part, "\n")
		a, asked := all[name]
		if why := a.fails(words); !asked || why != "" {
			t.Errorf("%s, %s: %s\nsays %q, which %s", s.name, name, a.line, words, why)
		}
		delete(all, name)
	}
	if len(all) > 0 {
		t.Errorf("%s: not tried: %v", s.name, slices.Collect(maps.Keys(all)))
	}
	s.hook(t)
	got := s.r.script(executor.Build, "for p in "+evil+" "+evil+"-said; do nix-store --check-validity $p 2>&1 || cat $p 2>&1 || echo never there; done")
	if strings.Count(got, "never there") != 2 {
		t.Errorf("%s: a path that was forged: %q", s.name, got)
	}
}

// hook tries what hooks of the job can, and git, and what that is told to run: they run in the helper, beside the gateway.
func (s *siege) hook(t *testing.T) {
	t.Helper()
	said := s.r.script(executor.Helper, "set +e; cd /.skerry/nix; { rm -rf jobs pins recent; mv daemon/socket daemon/other; touch daemon/mine; mount -o remount,rw .; } 2>/dev/null; ls -A . jobs daemon")
	if !strings.Contains(said, s.r.ref.ID) || !strings.Contains(said, "pins") || strings.Contains(said, "other") || strings.Contains(said, "mine") {
		t.Errorf("%s: after a hook there are %q", s.name, said)
	}
	// What the job has mounted from the helper's state: a link there would choose another directory of the machine.
	replace := "set +e; cd /.skerry/state; { mv nix other && ln -s / nix; rmdir nix; umount nix; } 2>/dev/null; [ -d nix ] && [ ! -L nix ] && ls -d nix other 2>/dev/null; true"
	if said := s.r.script(executor.Helper, replace); said != "nix" {
		t.Errorf("%s: after a hook the job's directory is %q", s.name, said)
	}
	// The jobs' volume is where a job puts what its hooks are to run.
	s.r.script(executor.Build, "mkdir -p /builds/group/project && cp /bin/attacker /builds/group/project/")
	said = s.r.script(executor.Helper, "set +e; { a=/builds/group/project/attacker; $a search; $a hold 1 /.skerry/nix/daemon/socket; $a hold 1 /.skerry/state/nix/socket; cat /proc/1/mem; ls -l /proc/1/fd/; } 2>&1; true")
	if strings.Contains(said, "found socket") || strings.Contains(said, "held") || strings.Contains(said, "->") || strings.Count(said, "operation not permitted") != 2 {
		t.Errorf("%s: a hook finds %q", s.name, said)
	}
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

// exhaust opens as many connections as a job likes, and keeps them.
func (s *siege) exhaust(t *testing.T) {
	t.Helper()
	hold := nixStage("attacker hold 200 " + socket)
	hold.ID = "s-hold"
	if _, err := s.agent.Start(t.Context(), hold); err != nil {
		t.Errorf("%s: %v", s.name, err)
		return
	}
	helper, _, err := s.r.dial(executor.Helper)
	if err != nil {
		t.Errorf("%s: %v", s.name, err)
		return
	}
	eventually(t, "the gateway has as many connections as it takes", func() bool {
		n, err := helper.Nix(t.Context())
		return err == nil && n.Connections >= 128
	})
}

// wholeNix checks the stores and daemons of the bench: no path differs from its hash, and no daemon has ended.
func (b *bench) wholeNix(t *testing.T) {
	t.Helper()
	engine := b.e.Connect(t)
	var all sync.WaitGroup
	for _, s := range b.daemons(t) {
		all.Go(func() { whole(t, engine, s) })
	}
	all.Wait()
}

func whole(t *testing.T, engine *engineapi.Engine, s nixspec.Spec) {
	t.Helper()
	var v nixd.Verified
	said, err := nixdaemon.Run(t.Context(), engine, s, nixd.CommandVerify)
	if err == nil {
		err = json.Unmarshal(said, &v)
	}
	if err != nil || !v.OK {
		t.Errorf("the store %s: %s, %v", s.Domain, said, err)
	}
	said, err = nixdaemon.Run(t.Context(), engine, s, nixd.CommandInfo)
	var i nixd.Info
	if err == nil {
		err = json.Unmarshal(said, &i)
	}
	if err != nil || i.Restarts != 0 || i.Sandbox != "on" {
		t.Errorf("the daemon %s: %s, %v", s.Domain, said, err)
	}
}

// daemons are those of the bench.
func (b *bench) daemons(t *testing.T) (all []nixspec.Spec) {
	t.Helper()
	containers, _, err := b.e.Connect(t).Owned(context.WithoutCancel(t.Context()), nixspec.LabelOwner, string(b.owner))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range containers {
		if c.Labels[nixspec.LabelSpec] != "" {
			all = append(all, nixspec.Spec{Owner: string(b.owner), Domain: c.Labels[nixspec.LabelDomain]})
		}
	}
	return all
}
