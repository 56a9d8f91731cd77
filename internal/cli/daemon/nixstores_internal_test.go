package daemon

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/config"
	"gitlab.com/skerry/skerry/internal/control"
	"gitlab.com/skerry/skerry/internal/executor/container"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
	"gitlab.com/skerry/skerry/internal/executor/container/nixdaemon"
	"gitlab.com/skerry/skerry/internal/nixstore/nixd"
)

// What the configuration says of collection reaches the keeper of the stores.
func TestCollectionIsConfigured(t *testing.T) {
	t.Parallel()
	for lines, want := range map[string]nixdaemon.Policy{
		"": {KeepFor: 168 * time.Hour, MinFreePercent: 10, Every: time.Hour},
		"keep_for = \"2h\"\nmin_free = \"3GB\"\ncollect_interval = \"0s\"\n": {KeepFor: 2 * time.Hour, MinFree: 3 << 30},
	} {
		path := filepath.Join(t.TempDir(), "config.toml")
		text := "[[runners]]\nurl = \"https://x/\"\ntoken = \"glrt-1\"\nexecutor = \"docker\"\n[runners.docker]\nimage = \"a\"\n[runners.nix]\nstore = \"shared\"\n" + lines
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := config.Load(path, config.Options{Executors: Executors()})
		if err != nil {
			t.Fatal(err)
		}
		n, err := nix(c.Runners[0])
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, n.Collect); diff != "" {
			t.Errorf("%q: -want +got:\n%s", lines, diff)
		}
	}
}

func TestStoresForCommands(t *testing.T) {
	t.Parallel()
	share := func(n int) nixd.Share { return nixd.Share{Paths: n, Bytes: int64(n) * 10} }
	shown := func(n int) control.NixShare { return control.NixShare{Paths: n, Bytes: int64(n) * 10} }
	s := container.NixStore{Engine: engineapi.Address{Host: "unix:///e"}, Store: nixdaemon.Store{
		Name: "n", For: "f", Scopes: []string{"1", "gone", "2"}, Daemon: nixdaemon.Running, Jobs: 2, Info: nixd.Info{Nix: "2.26", Sandbox: "off", Why: "w", Free: 1, Total: 2},
		Pins: map[string]nixd.Share{"p": share(1)}, All: share(9), Recent: share(2), Dead: share(3), LastUsed: time.Unix(7, 0),
	}}
	want := control.NixStore{
		Name: "n", For: "f", Runners: []string{"one", "two"}, Engine: "unix:///e", Daemon: "running", Nix: "2.26", Sandbox: "off", Why: "w", Jobs: 2,
		All: shown(9), Held: shown(4), Recent: shown(2), Unused: shown(3), Pins: map[string]control.NixShare{"p": shown(1)}, Free: 1, Total: 2, LastUsed: time.Unix(7, 0),
	}
	if diff := cmp.Diff(want, controlStore(s, map[string]string{"1": "two", "2": "one"})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
