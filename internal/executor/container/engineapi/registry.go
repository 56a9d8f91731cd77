package engineapi

import (
	"context"
	"fmt"

	"github.com/moby/moby/client"
)

// Reads asks an image's registry, by way of the engine, whether who has auth may read ref
// ("host/name@sha256:…"); nil is yes. Nothing that the engine has is moved. Docker asks the registry
// itself; Podman has no such request, and there what is present is pulled again, which brings nothing
// but the manifest.
func (e *Engine) Reads(ctx context.Context, ref, auth string) error {
	if e.Kind == Podman {
		return e.Pull(ctx, ref, auth, client.ImagePullOptions{}, func(Progress) {})
	}
	e.calls.Add(1)
	_, err := e.c.DistributionInspect(ctx, ref, client.DistributionInspectOptions{EncodedRegistryAuth: auth})
	if err != nil {
		return fmt.Errorf("ask for image %q: %w", ref, err)
	}
	return nil
}
