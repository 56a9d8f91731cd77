package nixdaemon

import (
	"context"
	"encoding/json"
	"fmt"

	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
	"gitlab.com/skerry/skerry/internal/nixstore/nixd/volumes"
)

// seed brings the image's own store and Nix for jobs into the volumes.
func (k *Keeper) seed(ctx context.Context, e *engineapi.Engine, s Spec, imageID string) (Offer, error) {
	if err := k.Volumes(ctx, s); err != nil {
		return Offer{}, err
	}
	name := s.SeedName()
	if err := e.Remove(ctx, name); err != nil { // an earlier process's
		return Offer{}, err
	}
	defer k.beside(func() { // nobody has to wait for that
		if err := e.Remove(context.WithoutCancel(ctx), name); err != nil {
			k.log.Warn("The container that filled a Nix store could not be removed", "container", name, "error", err)
		}
	})
	o, err := s.Seed(imageID)
	if err != nil {
		return Offer{}, err
	}
	if _, err := e.Create(ctx, o); err != nil {
		return Offer{}, err
	}
	if err := e.Start(ctx, name); err != nil {
		return Offer{}, err
	}
	end, err := e.Finish(ctx, name, seedWords)
	if err != nil {
		return Offer{}, err
	}
	if end.ExitCode != 0 {
		return Offer{}, fmt.Errorf("the image %s cannot be used for the Nix daemon: %s", s.Image, end.Err)
	}
	var seeded volumes.Seeded
	if err := json.Unmarshal(end.Out, &seeded); err != nil {
		return Offer{}, fmt.Errorf("fill the Nix store from the image %s: it said %q: %w", s.Image, end.Out, err)
	}
	return Offer{Tools: seeded.Tools, Certs: seeded.Certs, Why: seeded.Why}, nil
}

// seedWords bounds what is read of what the filling of a store says.
const seedWords = 64 << 10
