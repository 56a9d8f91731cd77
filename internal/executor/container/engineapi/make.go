package engineapi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
)

// Create makes a container, or finds the one that has its name; it returns the id. The one that is found has the values of o for
// the labels in agree: else it is somebody else's, and an error.
func (e *Engine) Create(ctx context.Context, o client.ContainerCreateOptions, agree ...string) (string, error) {
	if o.Name == "" {
		return "", errNoName
	}
	if names := sharedVolumes(o); len(names) > 0 && e.locksAll() {
		release, err := e.together.take(ctx, names)
		if err != nil {
			return "", err
		}
		defer release()
	}
	for attempt := 1; ; attempt++ {
		var r client.ContainerCreateResult
		err := e.again(ctx, func(ctx context.Context) (err error) {
			r, err = e.c.ContainerCreate(ctx, o)
			return err
		})
		if err == nil {
			return r.ID, nil
		}
		if !taken(err) {
			return "", fmt.Errorf("create container %s: %w", o.Name, err)
		}
		s, lookErr := e.State(ctx, o.Name)
		if lookErr == nil {
			if err := s.agrees(o, agree); err != nil {
				return "", err
			}
			return s.ID, nil
		}
		// Docker reserves the name while it makes the container, and does not show it before.
		if !absent(lookErr) || attempt == createAttempts || !pause(ctx, time.Duration(attempt)*20*time.Millisecond) {
			return "", errors.Join(fmt.Errorf("create container %s: %w", o.Name, err), lookErr)
		}
	}
}

// agrees is an error where a container differs in labels from what was to be made.
func (s State) agrees(o client.ContainerCreateOptions, labels []string) error {
	for _, l := range labels {
		if want := o.Config.Labels[l]; s.Labels[l] != want {
			return fmt.Errorf("create container %s: there is one of that name that somebody else has made, which is left alone (its label %s is %q, not %q): remove it, if nobody needs it", o.Name, l, s.Labels[l], want)
		}
	}
	return nil
}

// createAttempts is how often a container is looked for whose name is taken.
const createAttempts = 20

// Start starts a container. One that runs is left as it is.
func (e *Engine) Start(ctx context.Context, name string) error {
	for attempt := 1; ; attempt++ {
		err := e.again(ctx, func(ctx context.Context) error {
			_, err := e.c.ContainerStart(ctx, name, client.ContainerStartOptions{})
			return err
		})
		if err == nil {
			return nil
		}
		// For a moment there may be two networks of one name, see elect.
		if !strings.Contains(err.Error(), "is ambiguous") || attempt == removeAttempts || !pause(ctx, time.Duration(attempt)*20*time.Millisecond) {
			return fmt.Errorf("start container %s: %w", name, err)
		}
	}
}

// pause waits; false when ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Kill sends a signal ("KILL") to a container's first process. One that does not run is no error.
func (e *Engine) Kill(ctx context.Context, name, signal string) error {
	err := e.again(ctx, func(ctx context.Context) error {
		_, err := e.c.ContainerKill(ctx, name, client.ContainerKillOptions{Signal: signal})
		return err
	})
	if err == nil || absent(err) || strings.Contains(err.Error(), "not running") {
		return nil
	}
	return fmt.Errorf("kill container %s: %w", name, err)
}

// Remove kills and removes a container with its volumes that have no name. One that is not there is no error.
func (e *Engine) Remove(ctx context.Context, name string) error {
	return e.remove(ctx, name, true)
}

// RemoveKeeping is Remove without the container's volumes.
func (e *Engine) RemoveKeeping(ctx context.Context, name string) error {
	return e.remove(ctx, name, false)
}

func (e *Engine) remove(ctx context.Context, name string, volumes bool) error {
	return e.repeat(ctx, "remove container "+name, func(ctx context.Context) error {
		_, err := e.c.ContainerRemove(ctx, name, client.ContainerRemoveOptions{Force: true, RemoveVolumes: volumes})
		return err
	})
}

// Network is a network that the engine has.
type Network struct {
	ID     string
	Subnet netip.Prefix // of version 4; invalid when there is none or it is not known
}

// Network makes a bridge network, or finds the one that has its name. Docker lets two requests at once
// make two networks of one name: the older one counts then.
func (e *Engine) Network(ctx context.Context, name string, o client.NetworkCreateOptions) (Network, error) {
	if all, err := e.networks(ctx, name); err != nil || len(all) > 0 {
		return first(all), err
	}
	var r client.NetworkCreateResult
	err := e.again(ctx, func(ctx context.Context) (err error) {
		r, err = e.c.NetworkCreate(ctx, name, o)
		return err
	})
	if err == nil {
		made := Network{ID: r.ID}
		if o.IPAM != nil {
			made.Subnet = subnet(o.IPAM.Config)
		}
		return e.elect(ctx, name, made)
	}
	if taken(err) {
		if all, lookErr := e.networks(ctx, name); lookErr == nil && len(all) > 0 {
			return all[0], nil
		}
	}
	return Network{}, fmt.Errorf("create network %s: %w", name, err)
}

// subnet is the first one of version 4.
func subnet(configs []network.IPAMConfig) netip.Prefix {
	for _, c := range configs {
		if c.Subnet.Addr().Is4() {
			return c.Subnet
		}
	}
	return netip.Prefix{}
}

// elect settles which network of a name counts when two requests have each made one, and removes the
// caller's own when it does not.
func (e *Engine) elect(ctx context.Context, name string, mine Network) (Network, error) {
	if e.Kind == Podman {
		return mine, nil // its names are unique
	}
	all, err := e.networks(ctx, name)
	if err != nil || len(all) == 0 || all[0].ID == mine.ID {
		return mine, err
	}
	return all[0], e.repeat(ctx, "remove network "+name, func(ctx context.Context) error {
		_, err := e.c.NetworkRemove(ctx, mine.ID, client.NetworkRemoveOptions{})
		return err
	})
}

// networks are the networks of a name, the oldest first.
func (e *Engine) networks(ctx context.Context, name string) ([]Network, error) {
	var r client.NetworkListResult
	err := e.again(ctx, func(ctx context.Context) (err error) {
		r, err = e.c.NetworkList(ctx, client.NetworkListOptions{Filters: make(client.Filters).Add("name", name)})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look for network %s: %w", name, err)
	}
	slices.SortFunc(r.Items, func(a, b network.Summary) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
	})
	var all []Network
	for _, n := range r.Items {
		if n.Name == name { // the filter matches parts of names
			all = append(all, Network{ID: n.ID, Subnet: subnet(n.IPAM.Config)})
		}
	}
	return all, nil
}

func first(all []Network) Network {
	if len(all) == 0 {
		return Network{}
	}
	return all[0]
}

// RemoveNetwork removes every network of a name. None is no error.
func (e *Engine) RemoveNetwork(ctx context.Context, name string) error {
	all, err := e.networks(ctx, name)
	for _, n := range all {
		err = errors.Join(err, e.repeat(ctx, "remove network "+name, func(ctx context.Context) error {
			_, err := e.c.NetworkRemove(ctx, n.ID, client.NetworkRemoveOptions{})
			if err != nil {
				e.disconnectOthers(ctx, n.ID, err)
			}
			return err
		}))
	}
	return err
}

// Owned lists what carries label=value, by name.
func (e *Engine) Owned(ctx context.Context, label, value string) (containers []Thing, networks []Thing, err error) {
	filter := make(client.Filters).Add("label", label+"="+value)
	var cs client.ContainerListResult
	err = e.again(ctx, func(ctx context.Context) (err error) {
		cs, err = e.c.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: filter})
		return err
	})
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
	var ns client.NetworkListResult
	err = e.again(ctx, func(ctx context.Context) (err error) {
		ns, err = e.c.NetworkList(ctx, client.NetworkListOptions{Filters: filter})
		return err
	})
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

// Subnets are those of the engine's networks.
func (e *Engine) Subnets(ctx context.Context) ([]netip.Prefix, error) {
	var r client.NetworkListResult
	err := e.again(ctx, func(ctx context.Context) (err error) {
		r, err = e.c.NetworkList(ctx, client.NetworkListOptions{})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list networks: %w", err)
	}
	var out []netip.Prefix
	for _, n := range r.Items {
		for _, c := range n.IPAM.Config {
			if c.Subnet.IsValid() {
				out = append(out, c.Subnet)
			}
		}
	}
	return out, nil
}
