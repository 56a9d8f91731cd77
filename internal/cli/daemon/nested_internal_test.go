package daemon

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/config"
	"gitlab.com/skerry/skerry/internal/executor/container"
	"gitlab.com/skerry/skerry/internal/nixstore/domain"
	"gitlab.com/skerry/skerry/internal/plan"
)

// TestNestedOptions reads what jobs in containers have for containers of their own.
func TestNestedOptions(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		keys string
		want *container.Nested
	}{
		"none":              {"", nil},
		"own":               {"nested = \"podman\"\n", &container.Nested{Image: config.DefaultNestedImage}},
		"asking":            {"nested = \"podman\"\nnested_for = \"asking\"\nnested_image = \"mine\"\n", &container.Nested{Image: "mine", Asking: true}},
		"shared":            {"nested = \"shared\"\n", &container.Nested{Image: config.DefaultNestedImage, Shared: true}},
		"images":            {"nested = \"podman\"\nnested_images = \"project\"\n", &container.Nested{Image: config.DefaultNestedImage, Images: domain.Project}},
		"images are shared": {"nested = \"shared\"\nnested_images = \"all\"\n", &container.Nested{Image: config.DefaultNestedImage, Shared: true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "config.toml")
			text := "[[runners]]\nurl = \"https://x/\"\ntoken = \"glrt-1\"\nexecutor = \"docker\"\n[runners.docker]\nhost = \"unix:///engine.sock\"\nimage = \"x\"\n" + c.keys
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			loaded, err := config.Load(file, config.Options{Executors: Executors()})
			if err != nil {
				t.Fatal(err)
			}
			o, err := place{engines: &engines{}}.containers(&plan.Runner{}, loaded.Runners[0])
			if err != nil {
				t.Fatal(err)
			}
			if c.want != nil {
				c.want.Disk.Percent = 50 // the default of nested_disk
			}
			if diff := cmp.Diff(c.want, o.Nested); diff != "" {
				t.Error(diff)
			}
		})
	}
}
