package container_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/container"
	"gitlab.com/skerry/skerry/internal/executor/container/disk"
	"gitlab.com/skerry/skerry/internal/executor/container/enginetest"
	"gitlab.com/skerry/skerry/internal/executor/container/nixdaemon"
	"gitlab.com/skerry/skerry/internal/nixstore/domain"
)

// stopped reports whether no daemon of the bench runs.
func (b *bench) stopped(t *testing.T) bool {
	t.Helper()
	for _, s := range b.host.NixStores(t.Context()) {
		if s.Daemon != nixdaemon.Stopped {
			return false
		}
	}
	return true
}

// made is a line that builds a derivation which writes its name, and prints where. Its builder is named as busybox wants.
func made(name string) string {
	return fmt.Sprintf(`mkdir -p /tmp/box && cp /bin/busybox /tmp/box/ && box=$(nix-store --add /tmp/box) && nix-build --no-out-link -E `+
		`"derivation { name = \"%[1]s\"; system = builtins.currentSystem; builder = \"\${builtins.storePath $box}/busybox\"; args = [ \"sh\" \"-c\" \"echo %[1]s > \$out\" ]; }" 2>/tmp/err `+
		`|| { cat /tmp/err; exit 1; }`, name)
}

// TestNixCollection collects what a job has left beside one that runs, by order and when it is time, with a daemon that is
// started for it.
func TestNixCollection(t *testing.T) {
	t.Parallel()
	enginetest.NixBases(t)
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) {
		e.Load(t, enginetest.Image{Name: busybox})
		b := nixBench(t, e, enginetest.NixNew, domain.Runner)
		b.o.Nix.Path, b.o.Nix.Idle, b.o.Nix.Collect = true, time.Second, nixdaemon.Policy{KeepFor: 24 * time.Hour, Every: time.Hour}
		running := b.prepare(t, b.o, theJob(""))
		held := running.script(executor.Build, made("held"))
		over := b.prepare(t, b.o, theJob(""))
		left := over.script(executor.Build, made("left"))
		if err := over.env.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		stores := b.host.NixStores(t.Context())
		if len(stores) != 1 || stores[0].Jobs != 1 || stores[0].Daemon != nixdaemon.Running || stores[0].All.Paths < 3 || stores[0].For != "the runner" {
			t.Fatalf("%+v", stores)
		}
		name := stores[0].Name
		k, err := b.host.NixKeeper(name)
		if err != nil {
			t.Fatal(err)
		}
		if done, err := k.Collect(t.Context(), name, nixdaemon.Order{}); err != nil || done.Count != 0 {
			t.Errorf("what was used lately was deleted: %+v, %v", done, err)
		}
		if _, err := k.Pin(t.Context(), name, "mine", []string{held}); err != nil {
			t.Error(err)
		}
		now := time.Duration(0)
		eventually(t, "the order deletes what nothing holds", func() bool { // a daemon notices after a moment that a job's connections are closed
			done, err := k.Collect(t.Context(), name, nixdaemon.Order{KeepFor: &now})
			if err != nil {
				t.Fatal(err)
			}
			return strings.Contains(strings.Join(done.Paths, " "), left)
		})
		if got := running.script(executor.Build, "nix-store --check-validity "+held+" && cat "+held+"; test -e "+left+" || echo gone"); got != "held\ngone" {
			t.Errorf("the job sees %q", got)
		}
		if err := running.env.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the daemon stops", func() bool { return b.stopped(t) })
		paths, err := k.Paths(t.Context(), name) // it is started for that
		found := false
		for _, p := range paths {
			found = found || p.Path == held && strings.Contains(strings.Join(p.Roots, " "), "pin:mine")
		}
		if !found || err != nil {
			t.Errorf("the pinned path is not listed: %+v, %v", paths, err)
		}
		if _, err := k.Pin(t.Context(), name, "other", []string{left}); err == nil || strings.Contains(err.Error(), "exit code") {
			t.Errorf("a path that is not there was pinned, or: %v", err)
		}
	})
}

// TestNixIsLeftByAnEarlierProcess has another process stop an idle daemon, with a job that goes on and without.
func TestNixIsLeftByAnEarlierProcess(t *testing.T) {
	t.Parallel()
	enginetest.NixBases(t)
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) {
		e.Load(t, enginetest.Image{Name: busybox})
		b := nixBench(t, e, enginetest.NixNew, domain.Runner)
		b.o.Nix.Path, b.o.Nix.Idle, b.o.Nix.Collect = true, 10*time.Millisecond, nixdaemon.Policy{KeepFor: time.Hour, MinFreePercent: 1}
		b.o.Disk = disk.Policy{Bytes: 1, VolumeTTL: time.Nanosecond} // which spares stores, and images of their daemons
		r := &run{t: t, o: b.o, j: theJob(""), ref: executor.NewRef(b.owner)}
		var err error
		if r.env, err = container.New(b.o, b.host, quiet(t)).Prepare(t.Context(), r.ref, r.j, &r.log); err != nil {
			t.Fatal(err)
		}
		if _, _, err := r.dial(executor.Helper); err != nil {
			t.Fatal(err)
		}
		path := r.script(executor.Build, made("kept"))
		if err := b.host.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.host = &container.Host{LookEvery: 10 * time.Millisecond}
		second := container.New(b.o, b.host, quiet(t))
		if r.env, err = second.Adopt(t.Context(), r.ref); err != nil {
			t.Fatal(err)
		}
		if err := second.Reconcile(t.Context(), b.owner, []executor.Ref{r.ref}); err != nil {
			t.Fatal(err)
		}
		if got := r.script(executor.Build, "nix-store --check-validity "+path+" && cat "+path); got != "kept" {
			t.Errorf("the adopted job sees %q", got)
		}
		name := b.host.NixStores(t.Context())[0].Name
		k, err := b.host.NixKeeper(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := k.Pin(t.Context(), name, "mine", []string{path}); err != nil { // or the budget would have it collected
			t.Fatal(err)
		}
		if err := r.env.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the daemon stops", func() bool { return b.stopped(t) })
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		engine := e.Connect(t)
		stores := b.host.NixStores(ctx)
		if len(stores) != 1 {
			t.Fatalf("%+v", stores)
		}
		if err := engine.Start(ctx, stores[0].Name); err != nil {
			t.Fatal(err)
		}
		if err := b.host.Close(ctx); err != nil { // with a daemon that runs and no job
			t.Fatal(err)
		}
		b.host = &container.Host{}
		third := container.New(b.o, b.host, quiet(t))
		if err := third.Reconcile(ctx, b.owner, nil); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the daemon that was left stops", func() bool { return b.stopped(t) })
		again := b.prepare(t, b.o, theJob(""))
		if got := again.script(executor.Build, "nix-store --check-validity "+path+" && cat "+path); got != "kept" {
			t.Errorf("a later job sees %q", got)
		}
	})
}
