package nixd_test

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"

	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
	"gitlab.com/skerry/skerry/internal/executor/container/enginetest"
	"gitlab.com/skerry/skerry/internal/nixstore/nixd"
)

// domain is a trust domain's volumes and containers on a real engine.
type domain struct {
	t     *testing.T
	e     enginetest.Engine
	api   *engineapi.Engine
	raw   *client.Client
	name  string
	kind  enginetest.Nix
	agent string
	image string
	n     int
}

// busyboxImage is the image of jobs: it has no Nix.
var busyboxImage = enginetest.Image{Name: "skerry.test/nixd-job:latest"}

func newDomain(t *testing.T, e enginetest.Engine, n enginetest.Nix) *domain {
	t.Helper()
	d := &domain{t: t, e: e, kind: n, api: e.Connect(t), raw: e.Client(t), agent: enginetest.Agent(t), image: e.NixImage(t, n)}
	d.name = fmt.Sprintf("skerry-nixd-test-%d", time.Now().UnixNano())
	e.Load(t, busyboxImage)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
		defer cancel()
		if t.Failed() {
			t.Log("the daemon says:\n" + d.log(ctx))
		}
		_ = d.api.Remove(ctx, d.name)
		for _, v := range []string{"-gate", "-var", "-store"} {
			if err := d.api.RemoveVolume(ctx, d.name+v); err != nil {
				t.Error(err)
			}
		}
	})
	return d
}

func (d *domain) log(ctx context.Context) string {
	text, err := d.api.Logs(ctx, d.name, 200, 64<<10)
	if err != nil {
		return err.Error()
	}
	return text
}

// options are those of a container with the volumes below a directory each.
func (d *domain) options(name, image, store, state, gate string, readOnly bool, config nixd.Config, command ...string) client.ContainerCreateOptions {
	raw, err := json.Marshal(config)
	if err != nil {
		d.t.Fatal(err)
	}
	o := client.ContainerCreateOptions{
		Name: name,
		Config: &container.Config{
			Image: image, Entrypoint: command[:1], Cmd: command[1:], Env: []string{nixd.Variable + "=" + string(raw)},
			Labels: map[string]string{"skerry.test": "nixd"},
		},
		HostConfig: &container.HostConfig{
			NetworkMode: "none",
			Mounts: []mount.Mount{
				{Type: mount.TypeBind, Source: filepath.Dir(d.agent), Target: "/.skerry/bin", ReadOnly: true},
				{Type: mount.TypeVolume, Source: d.name + "-store", Target: store, ReadOnly: readOnly, VolumeOptions: &mount.VolumeOptions{NoCopy: true}},
			},
			SecurityOpt: []string{"seccomp=unconfined"},
		},
	}
	if state != "" {
		o.HostConfig.Mounts = append(o.HostConfig.Mounts, mount.Mount{Type: mount.TypeVolume, Source: d.name + "-var", Target: state, VolumeOptions: &mount.VolumeOptions{NoCopy: true}})
	}
	o.HostConfig.Mounts = append(o.HostConfig.Mounts, mount.Mount{Type: mount.TypeVolume, Source: d.name + "-gate", Target: gate, VolumeOptions: &mount.VolumeOptions{NoCopy: true}})
	if d.api.Kind == engineapi.Podman {
		o.HostConfig.SecurityOpt = append(o.HostConfig.SecurityOpt, "unmask=ALL")
	} else {
		o.HostConfig.MaskedPaths, o.HostConfig.ReadonlyPaths = []string{}, []string{}
	}
	return o
}

func (d *domain) config() nixd.Config {
	return nixd.Config{Image: strings.NewReplacer("/", "-", ":", "-").Replace(d.image), Substituters: []string{}, PublicKeys: []string{}}
}

// once runs a container to its end and returns its exit code and what it said.
func (d *domain) once(o client.ContainerCreateOptions) (int, string) {
	d.t.Helper()
	ctx := d.t.Context()
	if _, err := d.api.Create(ctx, o); err != nil {
		d.t.Fatal(err)
	}
	defer d.api.Remove(context.WithoutCancel(ctx), o.Name)
	if err := d.api.Start(ctx, o.Name); err != nil {
		d.t.Fatal(err)
	}
	// Podman's own wait reads its events, and may begin to after a container that ends at once has ended.
	code := d.endOf(o.Name).ExitCode
	text, err := d.api.Logs(ctx, o.Name, 1000, 1<<20)
	if err != nil {
		d.t.Fatal(err)
	}
	return code, text
}

func (d *domain) seedOptions() client.ContainerCreateOptions {
	d.n++
	return d.options(fmt.Sprintf("%s-seed-%d", d.name, d.n), d.image, nixd.SeedStoreDir, nixd.SeedStateDir, nixd.SeedGateDir, false, d.config(),
		"/.skerry/bin/agent", "nix", "seed")
}

func (d *domain) seed() nixd.Seeded {
	d.t.Helper()
	code, text := d.once(d.seedOptions())
	var s nixd.Seeded
	if err := json.Unmarshal([]byte(text), &s); code != 0 || err != nil {
		d.t.Fatalf("seed: exit code %d: %s", code, text)
	}
	return s
}

// start starts the daemon's container and waits for it.
func (d *domain) start(c nixd.Config) nixd.Info {
	d.t.Helper()
	o := d.options(d.name, d.image, nixd.StoreDir, nixd.StateDir, nixd.GateDir, false, c, "/.skerry/bin/agent", "nix", "daemon")
	if _, err := d.api.Create(d.t.Context(), o); err != nil {
		d.t.Fatal(err)
	}
	return d.run()
}

func (d *domain) run() nixd.Info {
	d.t.Helper()
	if err := d.api.Start(d.t.Context(), d.name); err != nil {
		d.t.Fatal(err)
	}
	var i nixd.Info
	d.ask(&i, "info", "--wait=90s")
	return i
}

// ask runs a command in the daemon's container.
func (d *domain) ask(answer any, command ...string) {
	d.t.Helper()
	out, err := d.try(command...)
	if err != nil {
		d.t.Fatal(err)
	}
	if err := json.Unmarshal(out, answer); err != nil {
		d.t.Fatalf("%v: %s: %v", command, out, err)
	}
}

func (d *domain) try(command ...string) ([]byte, error) {
	return d.api.Exec(d.t.Context(), d.name, "", append([]string{"/.skerry/bin/agent", "nix"}, command...)...)
}

// job runs a script in a job's container, which has the store read-only, and Nix's programs from it.
func (d *domain) job(tools, script string) (int, string) {
	d.t.Helper()
	d.n++
	o := d.options(fmt.Sprintf("%s-job-%d", d.name, d.n), busyboxImage.Name, "/nix/store", "", "/gate", true, nixd.Config{}, "/bin/sh", "-ec", script)
	o.Config.Env = []string{"NIX_REMOTE=unix:///gate/daemon/socket", "PATH=" + tools + ":/bin", "HOME=/root"}
	return d.once(o)
}

// build builds a derivation whose content is a word, and returns its path.
func (d *domain) build(tools, word string) string {
	d.t.Helper()
	code, text := d.job(tools, fmt.Sprintf(`
mkdir box; cp /bin/busybox box/busybox; box=$(nix-store --add box)
nix-build --no-out-link -E "derivation { name = \"%[1]s\"; system = \"x86_64-linux\"; builder = \"\${builtins.storePath $box}/busybox\"; args = [ \"sh\" \"-c\" \"echo %[1]s > \$out\" ]; }" >/tmp/out 2>/tmp/err || { cat /tmp/err; exit 1; }
cat $(cat /tmp/out) /tmp/out`, word))
	lines := strings.Fields(text)
	if code != 0 || len(lines) != 2 || lines[0] != word {
		d.t.Fatalf("build: exit code %d: %s", code, text)
	}
	return lines[1]
}

func (d *domain) has(path string) bool {
	d.t.Helper()
	var paths []nixd.Path
	d.ask(&paths, "ls")
	for _, p := range paths {
		if p.Path == path {
			return true
		}
	}
	return false
}

func (d *domain) clean() {
	d.t.Helper()
	var v nixd.Verified
	if d.ask(&v, "verify"); !v.OK {
		d.t.Errorf("the store is corrupt: %q", v.Faults)
	}
}
