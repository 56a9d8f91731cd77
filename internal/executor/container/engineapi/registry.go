package engineapi

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"

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

// Insecure reports whether Docker uses a registry ("host:port") without TLS, or with any certificate. Podman does not tell: there
// the answer is no.
func (e *Engine) Insecure(ctx context.Context, registry string) (bool, error) {
	var r client.SystemInfoResult
	err := e.again(ctx, func(ctx context.Context) (err error) {
		r, err = e.c.Info(ctx, client.InfoOptions{})
		return err
	})
	if err != nil {
		return false, fmt.Errorf("ask for the engine's registries: %w", err)
	}
	known := r.Info.RegistryConfig
	if known == nil || e.Kind == Podman {
		return false, nil
	}
	if index := known.IndexConfigs[registry]; index != nil {
		return !index.Secure, nil
	}
	host, _, err := net.SplitHostPort(registry)
	if err != nil {
		host = registry
	}
	addresses, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return false, nil //nolint:nilerr // Docker takes such a one for secure, too
	}
	return slices.ContainsFunc(known.InsecureRegistryCIDRs, func(p netip.Prefix) bool {
		return slices.ContainsFunc(addresses, func(a netip.Addr) bool { return p.Contains(a.Unmap()) })
	}), nil
}
