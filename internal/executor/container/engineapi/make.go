package engineapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/client"
)

// Create makes a container, or finds the one that has its name; it returns the id.
func (e *Engine) Create(ctx context.Context, o client.ContainerCreateOptions) (string, error) {
	if o.Name == "" {
		return "", errNoName
	}
	e.calls.Add(1)
	r, err := e.c.ContainerCreate(ctx, o)
	if taken(err) {
		s, lookErr := e.State(ctx, o.Name)
		if lookErr != nil {
			return "", errors.Join(err, lookErr)
		}
		return s.ID, nil
	}
	if err != nil {
		return "", fmt.Errorf("create container %s: %w", o.Name, err)
	}
	return r.ID, nil
}

// Start starts a container. One that runs is left as it is.
func (e *Engine) Start(ctx context.Context, name string) error {
	e.calls.Add(1)
	if _, err := e.c.ContainerStart(ctx, name, client.ContainerStartOptions{}); err != nil {
		return fmt.Errorf("start container %s: %w", name, err)
	}
	return nil
}

// Kill sends a signal ("KILL") to a container's first process. One that does not run is no error.
func (e *Engine) Kill(ctx context.Context, name, signal string) error {
	e.calls.Add(1)
	_, err := e.c.ContainerKill(ctx, name, client.ContainerKillOptions{Signal: signal})
	if err == nil || absent(err) || strings.Contains(err.Error(), "not running") {
		return nil
	}
	return fmt.Errorf("kill container %s: %w", name, err)
}

// removeAttempts is how often a removal is tried: Podman refuses the one of a container that has just
// ended ("container state improper"), and that of a container whose namespaces another still has.
const removeAttempts = 8

// Remove kills and removes a container with its anonymous volumes. One that is not there is no error.
func (e *Engine) Remove(ctx context.Context, name string) error {
	return e.repeat(ctx, "remove container "+name, func() error {
		_, err := e.c.ContainerRemove(ctx, name, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
		return err
	})
}

// Network makes a bridge network, or finds it by its name.
func (e *Engine) Network(ctx context.Context, name string, o client.NetworkCreateOptions) error {
	if e.Kind == Podman || o.IPAM == nil {
		// Docker allows several networks of one name: look first.
		e.calls.Add(1)
		if _, err := e.c.NetworkInspect(ctx, name, client.NetworkInspectOptions{}); err == nil {
			return nil
		} else if !absent(err) {
			return fmt.Errorf("look for network %s: %w", name, err)
		}
	}
	e.calls.Add(1)
	if _, err := e.c.NetworkCreate(ctx, name, o); err != nil && !taken(err) {
		return fmt.Errorf("create network %s: %w", name, err)
	}
	return nil
}

// RemoveNetwork removes a network. One that is not there is no error.
func (e *Engine) RemoveNetwork(ctx context.Context, name string) error {
	return e.repeat(ctx, "remove network "+name, func() error {
		_, err := e.c.NetworkRemove(ctx, name, client.NetworkRemoveOptions{})
		return err
	})
}

// Volume makes a named volume, or finds it.
func (e *Engine) Volume(ctx context.Context, name string, labels map[string]string) error {
	e.calls.Add(1)
	if _, err := e.c.VolumeCreate(ctx, client.VolumeCreateOptions{Name: name, Labels: labels}); err != nil && !taken(err) {
		return fmt.Errorf("create volume %s: %w", name, err)
	}
	return nil
}

// RemoveVolume removes a volume. One that is not there is no error.
func (e *Engine) RemoveVolume(ctx context.Context, name string) error {
	return e.repeat(ctx, "remove volume "+name, func() error {
		_, err := e.c.VolumeRemove(ctx, name, client.VolumeRemoveOptions{Force: true})
		return err
	})
}

// repeat tries a removal until it succeeds, the thing is gone, or it has failed often.
func (e *Engine) repeat(ctx context.Context, what string, remove func() error) error {
	for attempt, pause := 1, 20*time.Millisecond; ; attempt, pause = attempt+1, min(2*pause, time.Second) {
		e.calls.Add(1)
		err := remove()
		if err == nil || absent(err) {
			return nil
		}
		if ctx.Err() != nil || attempt == removeAttempts || IsUnreachable(err) {
			return fmt.Errorf("%s: %w", what, err)
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("%s: %w", what, errors.Join(context.Cause(ctx), err))
		}
	}
}

// Owned lists what carries label=value, by name.
func (e *Engine) Owned(ctx context.Context, label, value string) (containers []Thing, networks []Thing, err error) {
	filter := make(client.Filters).Add("label", label+"="+value)
	e.calls.Add(2)
	cs, err := e.c.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: filter})
	if err != nil {
		return nil, nil, fmt.Errorf("list containers: %w", err)
	}
	for _, c := range cs.Items {
		t := Thing{Name: c.ID, Labels: c.Labels}
		if len(c.Names) > 0 {
			t.Name = strings.TrimPrefix(c.Names[0], "/")
		}
		containers = append(containers, t)
	}
	ns, err := e.c.NetworkList(ctx, client.NetworkListOptions{Filters: filter})
	if err != nil {
		return nil, nil, fmt.Errorf("list networks: %w", err)
	}
	for _, n := range ns.Items {
		networks = append(networks, Thing{Name: n.Name, Labels: n.Labels})
	}
	return containers, networks, nil
}

// Thing is a container, network or volume by its name.
type Thing struct {
	Name   string
	Labels map[string]string
}

// Logs returns the last lines that a container wrote, at most limit bytes.
func (e *Engine) Logs(ctx context.Context, name string, lines int, limit int64) (string, error) {
	e.calls.Add(1)
	r, err := e.c.ContainerLogs(ctx, name, client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true, Tail: fmt.Sprint(lines)})
	if err != nil {
		return "", fmt.Errorf("logs of container %s: %w", name, err)
	}
	defer r.Close()
	var out strings.Builder
	_, err = stdcopy.StdCopy(&out, &out, io.LimitReader(r, limit))
	if err != nil && out.Len() == 0 {
		return "", fmt.Errorf("logs of container %s: %w", name, err)
	}
	return out.String(), nil
}
