package container_test

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/container/enginetest"
)

// TestNoexec keeps the agent on a file system from which nothing may be executed: it comes by a volume, then.
func TestNoexec(t *testing.T) {
	t.Parallel()
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) {
		if os.Getuid() != 0 {
			t.Skip("only root mounts file systems")
		}
		b := newBench(t, e)
		dir := t.TempDir()
		if err := unix.Mount("none", dir, "tmpfs", unix.MS_NOEXEC, "mode=0755"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
				t.Error(err)
			}
		})
		raw, err := os.ReadFile(b.o.Agent)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "agent"), raw, 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
		o := b.o
		o.Agent = filepath.Join(dir, "agent")
		r := b.prepare(t, o, theJob(""))
		for _, place := range []executor.Place{executor.Helper, executor.Build} {
			if got := r.script(place, "echo works"); got != "works" {
				t.Errorf("%s says %q", place, got)
			}
		}
	})
}
