package container_test

import (
	"archive/tar"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"

	"gitlab.com/skerry/skerry/internal/agent/agenttest"
	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/container/enginetest"
)

// TestConformanceInside runs the suite in a container that has nothing of the host but the engine's socket.
func TestConformanceInside(t *testing.T) {
	t.Parallel()
	enginetest.NotRaced(t)
	if os.Getuid() != 0 || len(enginetest.All()) == 0 {
		t.Skip("needs root and engines: the suite's own program is built and given to each of them")
	}
	program := filepath.Join(t.TempDir(), "test")
	build := exec.CommandContext(t.Context(), "go", "test", "-c", "-trimpath", "-o", program, ".") // as make build does, whose work is used again
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	archive := programs(t, map[string]string{"t/test": program, "t/bin/agent": agenttest.Static(t)})
	for _, e := range enginetest.All() {
		t.Run(e.Name, func(t *testing.T) {
			t.Parallel()
			e.Load(t, enginetest.Image{Name: busybox})
			api := e.Connect(t)
			name := "skerry-inside-" + executor.NewRef("x").ID
			defer func() { _ = api.Remove(t.Context(), name) }()
			_, err := api.Create(t.Context(), client.ContainerCreateOptions{
				Name: name,
				Config: &container.Config{
					Image: busybox, Cmd: []string{"/t/test", "-test.run", "^TestConformance$/^" + e.Name + "$", "-test.v", "-test.timeout", "8m"},
					Env: []string{enginetest.Variable + "=" + e.Name + "=unix:///run/engine.sock", "SKERRY_TEST_AGENT=/t/bin/agent"},
				},
				HostConfig: &container.HostConfig{
					NetworkMode: "none",
					Mounts:      []mount.Mount{{Type: mount.TypeBind, Source: strings.TrimPrefix(e.Address.Host, "unix://"), Target: "/run/engine.sock"}},
				},
			})
			if err == nil {
				err = api.CopyInto(t.Context(), name, "/", archive)
			}
			if err == nil {
				err = api.Start(t.Context(), name)
			}
			if err != nil {
				t.Fatal(err)
			}
			said := ended(t, e, name)
			if !strings.Contains(said, "--- PASS: TestConformance/"+e.Name) || !strings.Contains(said, "shares no directories") {
				t.Errorf("the suite in a container:\n%s", said)
			}
		})
	}
}

// ended waits for the container's end and returns what it wrote.
func ended(t *testing.T, e enginetest.Engine, name string) string {
	t.Helper()
	api := e.Connect(t)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		s, err := api.State(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if !s.Running {
			break
		}
		<-tick.C
	}
	said, err := api.Logs(t.Context(), name, 1000, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return said
}

// programs is an archive of executable files.
func programs(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for name, path := range files {
		content, err := os.ReadFile(path)
		if err == nil {
			err = w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o755, Size: int64(len(content))})
		}
		if err == nil {
			_, err = w.Write(content)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
