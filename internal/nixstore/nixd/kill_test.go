package nixd_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
	"gitlab.com/skerry/skerry/internal/executor/container/enginetest"
	"gitlab.com/skerry/skerry/internal/nixstore/nixd"
)

// kinds spreads the images over the engines: each is killed once.
func kind(e enginetest.Engine) enginetest.Nix {
	switch e.Name {
	case "docker":
		return enginetest.NixStore
	case "podman":
		return enginetest.NixOld
	default:
		return enginetest.NixNew
	}
}

func eachEngine(t *testing.T, test func(t *testing.T, d *domain)) {
	t.Helper()
	enginetest.NotRaced(t)
	if len(enginetest.All()) > 0 {
		if testing.Short() {
			t.Skip("takes minutes")
		}
		enginetest.NixBases(t)
	}
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) { test(t, newDomain(t, e, kind(e))) })
}

// TestKillDaemon has nix-daemon die: it comes back, and who connects meanwhile waits.
func TestKillDaemon(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, d *domain) {
		d.seed()
		i := d.start(d.config())
		for n := 1; n <= 3; n++ {
			if _, err := d.api.Exec(t.Context(), d.name, "", "/bin/sh", "-c", fmt.Sprintf("kill -KILL %d", i.PID)); err != nil {
				t.Fatal(err)
			}
			d.build(i.Tools, fmt.Sprintf("after-%d", n))
			var now nixd.Info
			if d.ask(&now, "info"); now.Restarts != n || now.PID == i.PID {
				t.Errorf("%+v", now)
			}
			i = now
		}
		d.clean()
		begun := time.Now()
		if err := d.api.Kill(t.Context(), d.name, "TERM"); err != nil {
			t.Fatal(err)
		}
		if s := d.ended(); s.ExitCode != 0 {
			t.Errorf("%+v", s)
		}
		t.Logf("ended %v after TERM", time.Since(begun))
		slow := strings.Contains(d.log(t.Context()), "they are killed") // by the daemon itself, on a machine that has much to do
		d.leave()
		if d.run(); !d.left() && !slow {
			t.Error("the whole store was looked through after a clean end")
		}
		if err := d.api.Kill(t.Context(), d.name, "KILL"); err != nil {
			t.Fatal(err)
		}
		d.ended()
		if d.run(); d.left() {
			t.Error("what lies in the store of a daemon that was killed is left")
		}
	})
}

// leave puts into the store what additions leave that are killed.
func (d *domain) leave() {
	d.t.Helper()
	if code, text := d.inStore("mkdir /nix/store/tmp-left"); code != 0 {
		d.t.Fatal(text)
	}
}

// left reports whether it is there.
func (d *domain) left() bool {
	d.t.Helper()
	code, _ := d.inStore("test -e /nix/store/tmp-left")
	return code == 0
}

// inStore runs a script in a container that may write to the store.
func (d *domain) inStore(script string) (int, string) {
	d.t.Helper()
	d.n++
	return d.once(d.options(fmt.Sprintf("%s-in-%d", d.name, d.n), busyboxImage.Name, nixd.StoreDir, "", "/gate", false, nixd.Config{}, "/bin/sh", "-ec", script))
}

// ended waits for the daemon's container to end.
func (d *domain) ended() engineapi.State {
	d.t.Helper()
	return d.endOf(d.name)
}

// endOf waits for the end of a container that has been started.
func (d *domain) endOf(name string) engineapi.State {
	d.t.Helper()
	for {
		s, err := d.api.State(d.t.Context(), name)
		if err != nil {
			d.t.Fatal(err)
		}
		if !s.Running && !s.Created {
			return s
		}
		time.Sleep(20 * time.Millisecond) // the engine's events say no more
	}
}

// TestKillContainer has the whole container die while it builds, adds and collects.
func TestKillContainer(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, d *domain) {
		d.seed()
		i := d.start(d.config())
		kept := d.build(i.Tools, "kept")
		d.ask(&[]string{}, "pin", "kept", kept)
		for n := range 6 {
			d.n++
			o := d.options(fmt.Sprintf("%s-busy-%d", d.name, d.n), busyboxImage.Name, nixd.StoreDir, "", "/gate", true, nixd.Config{}, "/bin/sh", "-c",
				`mkdir d; i=0; while :; do i=$((i+1)); echo $i-$RANDOM > d/f; nix-store --add d; done`)
			o.Config.Env = []string{"NIX_REMOTE=unix:///gate/daemon/socket", "PATH=" + i.Tools + ":/bin", "HOME=/root"}
			if _, err := d.api.Create(t.Context(), o); err != nil {
				t.Fatal(err)
			}
			if err := d.api.Start(t.Context(), o.Name); err != nil {
				t.Fatal(err)
			}
			collected := make(chan error, 1)
			go func() {
				for {
					if _, err := d.try("gc"); err != nil {
						collected <- err
						return
					}
				}
			}()
			time.Sleep(time.Duration(300+170*n) * time.Millisecond) // somewhere in the middle of it
			if err := d.api.Kill(t.Context(), d.name, "KILL"); err != nil {
				t.Fatal(err)
			}
			d.ended()
			<-collected
			if err := d.api.Remove(t.Context(), o.Name); err != nil {
				t.Fatal(err)
			}
			i = d.run()
			if i.Sandbox != "on" || !d.has(kept) {
				t.Fatalf("%+v", i)
			}
			d.clean()
		}
		d.build(i.Tools, "kept")
	})
}

// TestKillSeed has seeding die again and again, in the daemon's container and in another one.
func TestKillSeed(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, d *domain) {
		for pause := 20 * time.Millisecond; pause < time.Second; pause = pause * 3 / 2 {
			o := d.seedOptions()
			if d.n%2 == 0 {
				o = d.options(o.Name, d.image, nixd.StoreDir, nixd.StateDir, nixd.GateDir, false, d.config(), "/.skerry/bin/agent", "nix", "daemon")
			}
			if _, err := d.api.Create(t.Context(), o); err != nil {
				t.Fatal(err)
			}
			if err := d.api.Start(t.Context(), o.Name); err != nil {
				t.Fatal(err)
			}
			time.Sleep(pause) // somewhere in the middle of it
			// Removing kills it first. At the longest pauses it may have ended by itself.
			if err := d.api.Remove(context.WithoutCancel(t.Context()), o.Name); err != nil {
				t.Fatal(err)
			}
		}
		if d.kind == enginetest.NixStore { // which the volumes hide
			d.seed()
		}
		i := d.start(d.config())
		d.build(i.Tools, "hello")
		d.clean()

		// One container at a time has the volumes.
		if code, text := d.once(d.seedOptions()); code == 0 && !strings.Contains(text, `"seeded":0`) || code != 0 && !strings.Contains(text, "stop it first") {
			t.Errorf("exit code %d: %s", code, text)
		}
	})
}
