package nixd_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/executor/container/enginetest"
	"gitlab.com/skerry/skerry/internal/nixstore/nixd"
)

// eachNix runs a test with every engine and every kind of image.
func eachNix(t *testing.T, test func(t *testing.T, d *domain)) {
	t.Helper()
	enginetest.NotRaced(t)
	if len(enginetest.All()) > 0 && testing.Short() {
		t.Skip("takes minutes")
	}
	if len(enginetest.All()) > 0 {
		enginetest.NixBases(t)
	}
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) {
		for _, n := range []enginetest.Nix{enginetest.NixOld, enginetest.NixNew, enginetest.NixStore} {
			t.Run(string(n), func(t *testing.T) { test(t, newDomain(t, e, n)) }) //nolint:paralleltest // one after the other is enough for an engine
		}
	})
}

// TestLife is a domain from nothing to a build, a pin and a collection.
func TestLife(t *testing.T) {
	t.Parallel()
	eachNix(t, func(t *testing.T, d *domain) {
		begun := time.Now()
		var s nixd.Seeded
		if d.kind == enginetest.NixStore { // which the volumes hide
			o := d.options(d.name+"-early", d.image, nixd.StoreDir, nixd.StateDir, nixd.GateDir, false, d.config(), "/.skerry/bin/agent", "nix", "daemon")
			if code, text := d.once(o); code != nixd.ExitUnseeded {
				t.Errorf("exit code %d: %s", code, text)
			}
			begun = time.Now()
			s = d.seed()
		}
		seeded := time.Now()
		i := d.start(d.config())
		served := time.Now()
		if i.Sandbox != "on" || i.Nix == "" || i.BuildUsers != 32 || i.Tools == "" || i.Certs == "" || i.Free <= 0 || s.Tools != "" && s.Tools != i.Tools || s.Why != "" {
			t.Fatalf("%+v\n%+v", i, s)
		}
		var own nixd.Seeded
		if d.ask(&own, "seeded", "--wait=10s"); own.Tools != i.Tools || own.Certs != i.Certs {
			t.Errorf("%+v", own)
		}
		path := d.build(i.Tools, "hello")
		t.Logf("%s: seeded %d paths after %v, served after %v more, built in %v", i.Nix, s.Seeded, seeded.Sub(begun), served.Sub(seeded), time.Since(served))

		var pinned []string
		d.ask(&pinned, "pin", "mine", path)
		if len(pinned) != 1 || pinned[0] != path {
			t.Error(pinned)
		}
		d.idle()
		var c nixd.Collected
		d.ask(&c, "gc")
		if !d.has(path) || c.Count == 0 {
			t.Errorf("a pinned path is gone, or nothing was collected: %+v", c)
		}
		var st nixd.Stat
		if d.ask(&st, "stat"); st.Pins["mine"].Paths != 1 || st.Dead.Paths != 0 || c.Stat == nil || c.Stat.Paths != st.Paths || c.Stat.Dead != st.Dead {
			t.Errorf("%+v, and the collection says %+v", st, c.Stat)
		}
		d.ask(&pinned, "unpin", "mine")
		d.ask(&c, "gc", `{"dryRun":true}`)
		if c.Count != 1 || c.Paths[0] != path || !d.has(path) {
			t.Errorf("%+v", c)
		}
		d.ask(&c, "gc", `{"keepFor":3600000000000}`)
		if c.Count != 0 {
			t.Errorf("a path of this hour is collected: %+v", c)
		}
		d.ask(&c, "gc")
		if c.Count != 1 || d.has(path) || c.Freed <= 0 {
			t.Errorf("%+v", c)
		}
		for _, bad := range [][]string{{"pin", "x", path}, {"pin", "x", "/etc"}, {"pin", "../x", path}, {"unpin", "mine"}, {"gc", "{"}, {"info", "x"}, {"seeded", "x"}} {
			if _, err := d.try(bad...); err == nil {
				t.Errorf("%v succeeds", bad)
			}
		}
		d.clean()

		// Again, with all that is there.
		if err := d.api.Remove(t.Context(), d.name); err != nil {
			t.Fatal(err)
		}
		begun = time.Now()
		if again := d.seed(); again.Tools != i.Tools || again.Seeded != 0 {
			t.Errorf("%+v", again)
		}
		i = d.start(d.config())
		t.Logf("seeded and served again in %v", time.Since(begun))
		if i.Sandbox != "on" {
			t.Errorf("%+v", i)
		}
		d.clean()
	})
}

// idle waits until the daemon has noticed that all connections are closed, and lets go of what they held.
func (d *domain) idle() {
	d.t.Helper()
	for {
		var st nixd.Stat
		if d.ask(&st, "stat"); st.Temporary.Paths == 0 {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// TestUpgrade puts a new image on an old store, and the old one back.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	enginetest.NotRaced(t)
	if len(enginetest.All()) > 0 {
		enginetest.NixBases(t)
	}
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) {
		d := newDomain(t, e, enginetest.NixOld)
		var path, tools string
		for _, n := range []enginetest.Nix{enginetest.NixOld, enginetest.NixStore, enginetest.NixNew} {
			d.image = e.NixImage(t, n)
			s := d.seed()
			i := d.start(d.config())
			if path == "" {
				path = d.build(i.Tools, "kept")
				d.ask(&[]string{}, "pin", "kept", path)
			}
			if tools != "" && n != enginetest.NixNew { // the store's is the new one's
				// What the former image brought is kept for a while, as running jobs may use it.
				d.ask(&nixd.Collected{}, "gc", `{"keepFor":3600000000000}`)
				if !d.has(strings.TrimSuffix(tools, "/bin")) {
					t.Error("the former image's tools are gone")
				}
			}
			tools = s.Tools
			if !d.has(path) || d.build(i.Tools, "kept") != path {
				t.Errorf("%s: the store is lost", n)
			}
			d.ask(&nixd.Collected{}, "gc")
			d.clean()
			if err := d.api.Remove(t.Context(), d.name); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestSandboxModes has a container in which the sandbox cannot work.
func TestSandboxModes(t *testing.T) {
	t.Parallel()
	enginetest.NotRaced(t)
	if len(enginetest.All()) > 0 {
		enginetest.NixBases(t)
	}
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) {
		d := newDomain(t, e, enginetest.NixNew)
		d.seed()
		c := d.config()
		c.Sandbox = nixd.SandboxRequired
		o := d.options(d.name+"-bare", d.image, nixd.StoreDir, nixd.StateDir, nixd.GateDir, false, c, "/.skerry/bin/agent", "nix", "daemon")
		o.HostConfig.SecurityOpt, o.HostConfig.MaskedPaths, o.HostConfig.ReadonlyPaths = nil, nil, nil
		if code, text := d.once(o); code == 0 || !strings.Contains(text, "sandbox does not work") {
			t.Errorf("exit code %d: %s", code, text)
		}
		for _, mode := range []nixd.Sandbox{nixd.SandboxAuto, nixd.SandboxOff} {
			c.Sandbox = mode
			raw, err := json.Marshal(c)
			if err != nil {
				t.Fatal(err)
			}
			o.Name, o.Config.Env = d.name, []string{nixd.Variable + "=" + string(raw)}
			if _, err := d.api.Create(t.Context(), o); err != nil {
				t.Fatal(err)
			}
			i := d.run()
			if i.Sandbox != "off" || i.Why == "" {
				t.Errorf("%s: %+v", mode, i)
			}
			d.build(i.Tools, "unconfined-"+string(mode))
			if err := d.api.Remove(t.Context(), d.name); err != nil {
				t.Fatal(err)
			}
		}
	})
}
