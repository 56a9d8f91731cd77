package container_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/container"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
	"gitlab.com/skerry/skerry/internal/executor/container/enginetest"
	"gitlab.com/skerry/skerry/internal/executor/container/nixspec"
	"gitlab.com/skerry/skerry/internal/nixstore/domain"
	"gitlab.com/skerry/skerry/internal/nixstore/nixd"
	"gitlab.com/skerry/skerry/internal/stage"
)

// nixBench is a bench whose jobs have a Nix store.
func nixBench(t *testing.T, e enginetest.Engine, n enginetest.Nix, trust domain.Trust) *bench {
	t.Helper()
	b := newBench(t, e)
	b.o.Nix = &container.Nix{
		Trust: trust, Image: e.NixImage(t, n),
		Daemon: nixd.Config{Substituters: []string{}, PublicKeys: []string{}},
	}
	engine := e.Connect(t)
	t.Cleanup(func() { b.dropNix(t, engine) })
	return b
}

// dropNix removes the daemons and stores of the bench.
func (b *bench) dropNix(t *testing.T, engine *engineapi.Engine) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	containers, _, err := engine.Owned(ctx, nixspec.LabelOwner, string(b.owner))
	if err != nil {
		t.Error(err)
	}
	var all sync.WaitGroup
	for _, c := range containers {
		if c.Labels[nixspec.LabelDomain] == "" {
			continue
		}
		all.Go(func() {
			if t.Failed() {
				said, _ := engine.Logs(ctx, c.Name, 100, 64<<10)
				t.Log(c.Name, "says:", said)
			}
			if err := engine.Remove(ctx, c.Name); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	volumes, err := engine.OwnedVolumes(ctx, nixspec.LabelOwner, string(b.owner))
	if err != nil {
		t.Error(err)
	}
	for _, v := range volumes {
		if v.Labels[nixspec.LabelDomain] == "" {
			continue
		}
		all.Go(func() {
			if err := engine.RemoveVolume(ctx, v.Name); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

// addBox adds a directory with a busybox to the store, whose name it has to have in there.
const addBox = "mkdir -p /tmp/box && cp /bin/busybox /tmp/box && nix-store --add /tmp/box"

// build is a line that builds a derivation which writes its name, and prints where.
func build(name string) string {
	return fmt.Sprintf("box=$("+addBox+`) && nix-build --no-out-link -E `+
		`"derivation { name = \"%[1]s\"; system = \"x86_64-linux\"; builder = \"\${builtins.storePath $box}/busybox\"; args = [ \"sh\" \"-c\" \"echo %[1]s > \$out\" ]; }" 2>/tmp/err `+
		`|| { cat /tmp/err; exit 1; }`, name)
}

// whomItTrusts is a line that says "trusted: 0" or "trusted: 1", with any Nix: some have no number there, or another command.
const whomItTrusts = `{ nix store info --json 2>/dev/null || nix store ping --json; } | sed 's/.*"trusted":\([a-z0-9]*\).*/trusted: \1/; s/false/0/; s/true$/1/'`

func nixStage(line string) stage.Spec {
	return stage.Spec{Dir: "/builds/group/project", Base: "/builds", Mixed: true, Script: &stage.Script{Lines: []string{line}, Umask: -1}}
}

// eventually looks until something is so.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	end := time.After(patience)
	for !so() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatal("it does not come to be that " + what)
		}
	}
}

func TestNix(t *testing.T) {
	t.Parallel()
	enginetest.NixBases(t)
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) {
		e.Load(t, enginetest.Image{Name: busybox})
		b := nixBench(t, e, enginetest.NixNew, domain.Runner)
		b.o.Nix.Path = true
		first := b.prepare(t, b.o, theJob(""))
		path := first.script(executor.Build, build("one"))
		if !strings.HasPrefix(path, "/nix/store/") || !strings.HasSuffix(path, "-one") {
			t.Fatalf("the first job built %q\n%s", path, first.log.String())
		}
		if got := first.script(executor.Build, "cat "+path); got != "one" {
			t.Errorf("what was built says %q", got)
		}
		second := b.prepare(t, b.o, theJob(""))
		if got := second.script(executor.Build, "cat "+path+" && { nix-store --realise "+path+" 2>/tmp/err || cat /tmp/err; }"); got != "one\n"+path {
			t.Errorf("the second job sees %q", got)
		}
		for line, want := range map[string]string{
			"touch /nix/store/mine 2>&1 || true":                   "Read-only file system",
			whomItTrusts:                                           "trusted: 0",
			"nix-store --gc 2>&1 || true":                          "Skerry",
			"ls /nix/var/nix/gcroots /nix/var/nix/db 2>&1 || true": "No such file",
			"echo $NIX_REMOTE; cat /etc/nix/nix.conf":              "daemon",
		} {
			if got := second.script(executor.Build, line); !strings.Contains(got, want) {
				t.Errorf("%s says %q, want %q in it", line, got, want)
			}
		}
	})
}

// TestNixTogether has many jobs begin at once, while there is no daemon, and build the same; on one of the engines of a daemon whose
// Nix the store's volumes hide.
func TestNixTogether(t *testing.T) {
	t.Parallel()
	enginetest.NixBases(t)
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) {
		e.Load(t, enginetest.Image{Name: busybox})
		of := enginetest.NixNew
		if e.Name == "docker" {
			of = enginetest.NixStore
		}
		b := nixBench(t, e, of, domain.Runner)
		b.o.Nix.Path = true
		var all sync.WaitGroup
		for range 6 {
			r := b.prepare(t, b.o, theJob(""))
			all.Go(func() {
				out, res := r.stage(executor.Build, nixStage(build("same")))
				if res.ExitCode != 0 {
					t.Errorf("a job failed: %+v\n%s", res, out)
				}
			})
		}
		all.Wait()
	})
}

// TestNixDaemonKilled kills the daemon's container beneath a job, and removes it.
func TestNixDaemonKilled(t *testing.T) {
	t.Parallel()
	enginetest.NixBases(t)
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) {
		e.Load(t, enginetest.Image{Name: busybox})
		b := nixBench(t, e, enginetest.NixNew, domain.Runner)
		b.o.Nix.Path = true
		r := b.prepare(t, b.o, theJob(""))
		path := r.script(executor.Build, build("before"))
		engine := e.Connect(t)
		for _, end := range []struct {
			name string
			do   func(name string) error
		}{
			{"killed", func(name string) error { return engine.Kill(t.Context(), name, "KILL") }},
			{"removed", func(name string) error { return engine.Remove(t.Context(), name) }},
		} {
			daemons := b.daemons(t)
			if len(daemons) != 1 {
				t.Fatalf("the daemons: %v", daemons)
			}
			if err := end.do(daemons[0].Name()); err != nil {
				t.Fatal(err)
			}
			if got := r.script(executor.Build, build(end.name)+" && nix-store --check-validity "+path+" && echo there"); !strings.HasSuffix(got, "there") {
				t.Errorf("after the daemon was %s: %q", end.name, got)
			}
		}
	})
}

// TestNixIdle lets a daemon go that no job needs, and come back.
func TestNixIdle(t *testing.T) {
	t.Parallel()
	enginetest.NixBases(t)
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) {
		e.Load(t, enginetest.Image{Name: busybox})
		b := nixBench(t, e, enginetest.NixNew, domain.Runner)
		b.o.Nix.Path, b.o.Nix.Idle = true, 10*time.Millisecond
		r := b.prepare(t, b.o, theJob(""))
		path := r.script(executor.Build, build("kept"))
		if err := r.env.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		engine := e.Connect(t)
		eventually(t, "the daemon stops", func() bool {
			containers, _, err := engine.Owned(t.Context(), nixspec.LabelOwner, string(b.owner))
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range containers {
				if s, err := engine.State(t.Context(), c.Name); c.Labels[nixspec.LabelSpec] != "" && (err != nil || s.Running) {
					return false
				}
			}
			return true
		})
		again := b.prepare(t, b.o, theJob(""))
		if got := again.script(executor.Build, "nix-store --check-validity "+path+" && cat "+path); got != "kept" {
			t.Errorf("after the daemon's rest: %q", got)
		}
	})
}
