package doctor_test

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/moby/moby/client"

	"gitlab.com/skerry/skerry/internal/executor/container/enginetest"
)

// TestNestedImage has an engine whose image for engines of jobs is one as a distribution makes it, and takes the advice.
func TestNestedImage(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("it takes root")
	}
	socket := rootfulEngine(t)
	const name = "skerry.test/doctor-nested:latest"
	for _, e := range enginetest.All() {
		if strings.HasSuffix(e.Address.Host, socket) {
			programs := map[string]string{}
			for _, p := range []string{"podman", "crun", "newuidmap", "newgidmap"} {
				programs["/usr/bin/"+p] = p
			}
			e.Load(t, enginetest.Image{Name: name, Files: programs, Env: []string{"PATH=/bin:/usr/bin"}})
			api := e.Client(t)
			t.Cleanup(func() {
				_, _ = api.ImageRemove(context.Background(), name, client.ImageRemoveOptions{Force: true, PruneChildren: true})
			})
		}
	}
	root := machine(t, rootful+nested+"nested_image = \""+name+"\"\n")
	before, after, said := run(t, root, twice("nested", ""), socket)
	if before.Severity != "warning" || !strings.Contains(before.What, "is not made by `skerry image build podman`") || after.Severity != "ok" || !strings.Contains(said, ", 1 mended") {
		t.Errorf("it found %+v, and afterwards %+v:\n%s", before, after, said)
	}
	root = machine(t, rootful+nested+"nested_image = \"skerry.test/doctor-no-such:1\"\n")
	if before, _, _ = run(t, root, twice("nested", "true"), socket); before.Severity != "skipped" {
		t.Errorf("of an image that is to be pulled it says: %+v", before)
	}
}
