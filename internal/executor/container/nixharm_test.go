package container_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/container/enginetest"
	"gitlab.com/skerry/skerry/internal/nixstore/domain"
)

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
				helper := r.script(executor.Helper, "find /.skerry/state /.skerry/nix -name 'nix.conf*' 2> /dev/null || true")
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
