package engineapi

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/moby/moby/client"
)

// CopyInto extracts a tar archive at dir in a container, which need not run. It may be repeated.
func (e *Engine) CopyInto(ctx context.Context, container, dir string, archive []byte) error {
	err := e.again(ctx, func(ctx context.Context) error {
		_, err := e.c.CopyToContainer(ctx, container, client.CopyToContainerOptions{DestinationPath: dir, Content: bytes.NewReader(archive)})
		return err
	})
	if err != nil {
		return fmt.Errorf("copy files into container %s: %w", container, err)
	}
	return nil
}

// SizeIn is the size of a file in a container, which need not run; IsAbsent tells that it is not there.
func (e *Engine) SizeIn(ctx context.Context, container, path string) (int64, error) {
	var r client.ContainerStatPathResult
	err := e.again(ctx, func(ctx context.Context) (err error) {
		r, err = e.c.ContainerStatPath(ctx, container, client.ContainerStatPathOptions{Path: path})
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("look at %s in container %s: %w", path, container, err)
	}
	return r.Stat.Size, nil
}

// Claim makes a container that nobody else has made: mine is false when the name is taken.
func (e *Engine) Claim(ctx context.Context, o client.ContainerCreateOptions) (mine bool, err error) {
	e.calls.Add(1)
	_, err = e.c.ContainerCreate(ctx, o)
	switch {
	case err == nil:
		return true, nil
	case taken(err):
		return false, nil
	}
	return false, fmt.Errorf("create container %s: %w", o.Name, err)
}

// VolumeLabels are those of a named volume; IsAbsent tells that there is none.
func (e *Engine) VolumeLabels(ctx context.Context, name string) (map[string]string, error) {
	var r client.VolumeInspectResult
	err := e.again(ctx, func(ctx context.Context) (err error) {
		r, err = e.c.VolumeInspect(ctx, name, client.VolumeInspectOptions{})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("inspect volume %s: %w", name, err)
	}
	return r.Volume.Labels, nil
}

// OldVolumes lists the volumes with label=value that were made before a time.
func (e *Engine) OldVolumes(ctx context.Context, label, value string, before time.Time) ([]string, error) {
	var r client.VolumeListResult
	err := e.again(ctx, func(ctx context.Context) (err error) {
		r, err = e.c.VolumeList(ctx, client.VolumeListOptions{Filters: make(client.Filters).Add("label", label+"="+value)})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list volumes: %w", err)
	}
	var names []string
	for _, v := range r.Items {
		if made, err := time.Parse(time.RFC3339, v.CreatedAt); err == nil && made.Before(before) {
			names = append(names, v.Name)
		}
	}
	return names, nil
}

// RemoveUnused removes a volume unless a container has it.
func (e *Engine) RemoveUnused(ctx context.Context, volume string) error {
	return e.again(ctx, func(ctx context.Context) error {
		_, err := e.c.VolumeRemove(ctx, volume, client.VolumeRemoveOptions{})
		return err
	})
}
