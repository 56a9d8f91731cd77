package container_test

import (
	"testing"

	dockercontainer "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"gitlab.com/skerry/skerry/internal/executor/container"
	"gitlab.com/skerry/skerry/internal/executor/container/carrier"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
	"gitlab.com/skerry/skerry/internal/executor/container/enginetest"
)

// TestProbeOfAKilledRunner leaves a container that was to find out whether the engine is local: the next start removes
// it, and not one of its own.
func TestProbeOfAKilledRunner(t *testing.T) {
	t.Parallel()
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) {
		b, api := newBench(t, e), e.Connect(t)
		name := "skerry-probe-" + string(b.owner)
		if _, err := api.Create(t.Context(), client.ContainerCreateOptions{Name: name, Config: &dockercontainer.Config{
			Image: busybox, Cmd: []string{"true"},
			Labels: map[string]string{"com.gitlab.skerry.owner": string(b.owner), carrier.LabelPart: carrier.PartProbe},
		}}); err != nil {
			t.Fatal(err)
		}
		if err := container.New(b.o, b.host, quiet(t)).Reconcile(t.Context(), b.owner, nil); err != nil {
			t.Error(err)
		}
		if s, err := api.State(t.Context(), name); !engineapi.IsAbsent(err) {
			t.Errorf("it is still there: %+v, %v", s, err)
		}
	})
}
