package engineapi

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"
)

// ErrInUse says that an image or volume was not removed because a container has it.
var ErrInUse = errors.New("it is in use")

// StoredImage is an image among those that the engine has.
type StoredImage struct {
	ID      string
	Tags    []string
	Digests []string // "name@sha256:…"
	Labels  map[string]string
	Size    int64 // bytes that no other image shares, as far as the engine tells
	Shared  int64 // bytes that others share, too
	Created time.Time
}

// StoredVolume is a volume that the engine has.
type StoredVolume struct {
	Name       string
	Labels     map[string]string
	Created    time.Time // zero when the engine does not tell
	Mountpoint string    // on the engine's machine
}

// StoredImages lists all images.
func (e *Engine) StoredImages(ctx context.Context) ([]StoredImage, error) {
	var r client.ImageListResult
	err := e.again(ctx, func(ctx context.Context) (err error) {
		r, err = e.c.ImageList(ctx, client.ImageListOptions{SharedSize: true})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	var out []StoredImage
	for _, i := range r.Items {
		shared := max(i.SharedSize, 0)
		out = append(out, StoredImage{
			ID: i.ID, Labels: i.Labels, Size: max(i.Size-shared, 0), Shared: shared,
			Tags: named(i.RepoTags), Digests: named(i.RepoDigests), Created: time.Unix(i.Created, 0),
		})
	}
	return out, nil
}

// named leaves out what stands for no name.
func named(names []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == "" || strings.Contains(n, "<none>") })
}

// StoredVolumes lists the volumes that carry label=value, without their sizes.
func (e *Engine) StoredVolumes(ctx context.Context, label, value string) ([]StoredVolume, error) {
	var r client.VolumeListResult
	err := e.again(ctx, func(ctx context.Context) (err error) {
		r, err = e.c.VolumeList(ctx, client.VolumeListOptions{Filters: make(client.Filters).Add("label", label+"="+value)})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list volumes: %w", err)
	}
	var out []StoredVolume
	for _, v := range r.Items {
		created, _ := time.Parse(time.RFC3339, v.CreatedAt) // zero when it is not told
		out = append(out, StoredVolume{Name: v.Name, Labels: v.Labels, Created: created, Mountpoint: v.Mountpoint})
	}
	return out, nil
}

// sizeAttempts is how often the sizes of volumes are asked for: Podman gives up when a container of
// anybody's goes while it counts.
const sizeAttempts = 10

// VolumeSizes are the bytes in each volume, by name. The engine looks at every file of every volume for it.
func (e *Engine) VolumeSizes(ctx context.Context) (map[string]int64, error) {
	for attempt := 1; ; attempt++ {
		var du client.DiskUsageResult
		err := e.bounded(ctx, func(ctx context.Context) (err error) {
			du, err = e.c.DiskUsage(ctx, client.DiskUsageOptions{Volumes: true, Verbose: true})
			return err
		})
		if err == nil {
			sizes := map[string]int64{}
			for _, v := range du.Volumes.Items {
				if v.UsageData != nil && v.UsageData.Size > 0 {
					sizes[v.Name] = v.UsageData.Size
				}
			}
			return sizes, nil
		}
		if attempt == sizeAttempts || !pause(ctx, time.Duration(attempt)*100*time.Millisecond) {
			return nil, fmt.Errorf("ask for the sizes of volumes: %w", err)
		}
	}
}

// RootDir is the directory on the engine's machine in which it keeps everything.
func (e *Engine) RootDir(ctx context.Context) (string, error) {
	_, dir, err := e.Storage(ctx)
	return dir, err
}

// Storage is how the engine keeps images and containers ("overlay"), and the directory on its machine in which it keeps everything.
func (e *Engine) Storage(ctx context.Context) (driver, dir string, err error) {
	var r client.SystemInfoResult
	err = e.again(ctx, func(ctx context.Context) (err error) {
		r, err = e.c.Info(ctx, client.InfoOptions{})
		return err
	})
	if err != nil {
		return "", "", fmt.Errorf("ask for the engine's storage: %w", err)
	}
	return r.Info.Driver, r.Info.DockerRootDir, nil
}

// DropImage takes a name from an image, and removes the image with the last one. ErrInUse tells that a
// container has it; an image that is not there is no error.
func (e *Engine) DropImage(ctx context.Context, ref string) error {
	err := e.bounded(ctx, func(ctx context.Context) error {
		_, err := e.c.ImageRemove(ctx, ref, client.ImageRemoveOptions{PruneChildren: true})
		return err
	})
	return dropped("image", ref, err)
}

// DropVolume removes a volume that no container has; otherwise the error is ErrInUse. A volume that is not
// there is no error.
func (e *Engine) DropVolume(ctx context.Context, name string) error {
	err := e.bounded(ctx, func(ctx context.Context) error {
		// Not forced: Podman would remove the containers that have it.
		_, err := e.c.VolumeRemove(ctx, name, client.VolumeRemoveOptions{})
		return err
	})
	return dropped("volume", name, err)
}

// Ended lists the containers that were made before a time, do not run, and carry no such label.
func (e *Engine) Ended(ctx context.Context, without string, before time.Time) ([]string, error) {
	var r client.ContainerListResult
	err := e.again(ctx, func(ctx context.Context) (err error) {
		r, err = e.c.ContainerList(ctx, client.ContainerListOptions{All: true})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	var out []string
	for _, c := range r.Items {
		over := slices.Contains([]string{"created", "configured", "initialized", "stopped", "exited", "dead"}, string(c.State))
		if _, has := c.Labels[without]; over && !has && time.Unix(c.Created, 0).Before(before) {
			out = append(out, c.ID)
		}
	}
	return out, nil
}

// DropContainer removes a container that does not run, with its volumes that have no name, and reports whether it did. One that
// runs by now, or is gone, is no error.
func (e *Engine) DropContainer(ctx context.Context, name string) (gone bool, err error) {
	err = e.bounded(ctx, func(ctx context.Context) error {
		_, err := e.c.ContainerRemove(ctx, name, client.ContainerRemoveOptions{RemoveVolumes: true})
		return err
	})
	if err == nil {
		return true, nil
	}
	if err = dropped("container", name, err); errors.Is(err, ErrInUse) {
		err = nil
	}
	return false, err
}

func dropped(what, name string, err error) error {
	switch {
	case err == nil, absent(err):
		return nil
	case errdefs.IsConflict(err):
		return fmt.Errorf("remove %s %s: %w (%w)", what, name, ErrInUse, err)
	default:
		return fmt.Errorf("remove %s %s: %w", what, name, err)
	}
}
