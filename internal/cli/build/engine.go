package build

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"

	"github.com/spf13/cobra"

	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
	"gitlab.com/skerry/skerry/internal/executor/container/podman"
	"gitlab.com/skerry/skerry/internal/image"
)

// find connects to the engine, found as for jobs. Where there is a podman command and no socket, Podman's API is started for
// as long as the command runs.
func (b *builder) find(ctx context.Context, host string) (engine, func() error, error) {
	getenv := func(key string) string { return b.program.EnvDefault(key, "") }
	finder := engineapi.Finder{Getenv: getenv, Root: "/", UID: b.program.UID}
	a, err := finder.Find(ctx, engineapi.Address{Host: host})
	var revive func(context.Context) error
	remove := func() error { return nil }
	if errors.Is(err, engineapi.ErrNone) {
		if path, lookErr := exec.LookPath("podman"); lookErr == nil {
			dir, mkErr := os.MkdirTemp("", "skerry")
			if mkErr != nil {
				return nil, nil, mkErr
			}
			service := &podman.Service{Program: path, Dir: dir, Owner: "image-build", Log: b.program.Logger}
			a, err, revive = engineapi.Address{Host: service.Address()}, nil, service.Ensure
			remove = func() error { return os.RemoveAll(dir) }
		}
	}
	if err != nil {
		return nil, nil, err
	}
	e, err := engineapi.Connect(ctx, a, revive)
	if err != nil {
		return nil, nil, errors.Join(err, remove())
	}
	return e, func() error { return errors.Join(e.Close(), remove()) }, nil
}

// helper is the command for the helper image, which jobs get made by themselves.
func (b *builder) helper() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use: "helper", Short: "Make the helper image",
		Long: "Make the image in which jobs' sources, caches and artifacts are handled, of this machine's own git. Jobs have it made by themselves; this is to look at it, " +
			"or to give it to an engine beforehand.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return b.makeHelper(cmd.Context(), o) },
	}
	b.flags(cmd, &o)
	return cmd
}

func (b *builder) makeHelper(ctx context.Context, o options) (err error) {
	h, err := image.NewHelper(ctx)
	if err != nil {
		return err
	}
	e, done, err := b.connect(ctx, o.host)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	if _, err := b.give(ctx, e, h.Ref, h.Write); err != nil {
		return err
	}
	b.program.Say("Made %s with %s.", h.Ref, strings.Join(append([]string{"git"}, h.Parts...), ", "))
	return nil
}
