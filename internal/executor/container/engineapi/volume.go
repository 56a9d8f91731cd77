package engineapi

import (
	"context"
	"fmt"

	"github.com/moby/moby/client"
)

// VolumeOptions describe a volume to be.
type VolumeOptions struct {
	Name       string
	Labels     map[string]string
	Driver     string // empty: the engine's own
	DriverOpts map[string]string
}

// Volume makes a named volume with the engine's own driver, or finds it.
func (e *Engine) Volume(ctx context.Context, name string, labels map[string]string) error {
	return e.VolumeWith(ctx, VolumeOptions{Name: name, Labels: labels})
}

// VolumeWith makes a volume, or finds it.
func (e *Engine) VolumeWith(ctx context.Context, o VolumeOptions) error {
	err := e.again(ctx, func(ctx context.Context) error {
		_, err := e.c.VolumeCreate(ctx, client.VolumeCreateOptions{Name: o.Name, Labels: o.Labels, Driver: o.Driver, DriverOpts: o.DriverOpts})
		return err
	})
	if err != nil && !taken(err) {
		return fmt.Errorf("create volume %s: %w", o.Name, err)
	}
	return nil
}

// RemoveVolume removes a volume that no container has. One that is not there is no error.
func (e *Engine) RemoveVolume(ctx context.Context, name string) error {
	return e.repeat(ctx, "remove volume "+name, func(ctx context.Context) error {
		_, err := e.c.VolumeRemove(ctx, name, client.VolumeRemoveOptions{Force: e.Kind != Podman}) // Podman would remove its containers
		return err
	})
}

// OwnedVolumes lists the volumes that carry label=value, by name.
func (e *Engine) OwnedVolumes(ctx context.Context, label, value string) ([]Thing, error) {
	var r client.VolumeListResult
	err := e.again(ctx, func(ctx context.Context) (err error) {
		r, err = e.c.VolumeList(ctx, client.VolumeListOptions{Filters: make(client.Filters).Add("label", label+"="+value)})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list volumes: %w", err)
	}
	var out []Thing
	for _, v := range r.Items {
		out = append(out, Thing{Name: v.Name, Labels: v.Labels})
	}
	return out, nil
}

// VolumeDir is the directory of a volume on the engine's machine; IsAbsent tells that there is no such volume.
func (e *Engine) VolumeDir(ctx context.Context, name string) (string, error) {
	var r client.VolumeInspectResult
	err := e.again(ctx, func(ctx context.Context) (err error) {
		r, err = e.c.VolumeInspect(ctx, name, client.VolumeInspectOptions{})
		return err
	})
	if err != nil {
		return "", fmt.Errorf("inspect volume %s: %w", name, err)
	}
	return r.Volume.Mountpoint, nil
}

// Writable are the paths at which a container has volumes and directories that it may write to; IsAbsent tells that there is no
// such container.
func (e *Engine) Writable(ctx context.Context, name string) ([]string, error) {
	var r client.ContainerInspectResult
	err := e.again(ctx, func(ctx context.Context) (err error) {
		r, err = e.c.ContainerInspect(ctx, name, client.ContainerInspectOptions{})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("inspect container %s: %w", name, err)
	}
	var paths []string
	for _, m := range r.Container.Mounts {
		if m.RW {
			paths = append(paths, m.Destination)
		}
	}
	return paths, nil
}
