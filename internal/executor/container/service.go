package container

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"gitlab.com/skerry/skerry/internal/dockeropt"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
	"gitlab.com/skerry/skerry/internal/executor/container/slot"
)

// maxPorts is how many exposed ports of a service are tried.
// Source: gitlab-runner executors/docker/docker.go, maxPortsCheck.
const maxPorts = 20

// needs are what services wait for.
type needs struct{ network, volumes, helper *step }

// makeServices starts all services and waits until they answer. Images are pulled and containers made side
// by side; they are started in the order of the job, since one may look for another when it starts.
func (v *environment) makeServices(ctx context.Context, n needs) error {
	if len(v.b.Services) == 0 {
		return nil
	}
	var all sync.WaitGroup
	defer all.Wait()
	made := make([]madeService, len(v.b.Services))
	for i := range made {
		made[i].done = make(chan struct{})
		all.Go(func() {
			defer close(made[i].done)
			made[i].ports, made[i].err = v.createService(ctx, i, n)
		})
	}
	ports := make([][]uint16, len(made))
	for i := range made {
		s := &v.b.Services[i]
		<-made[i].done
		if err := made[i].err; err != nil {
			return fmt.Errorf("service %s: %w", s.Title, err)
		}
		ports[i] = made[i].ports
		if err := v.startService(ctx, s); err != nil {
			return err
		}
	}
	return v.awaitServices(ctx, ports, n)
}

// madeService is what the making of a service's container found out.
type madeService struct {
	done  chan struct{}
	ports []uint16 // to be reached; this and err are valid when done is closed
	err   error
}

func (v *environment) startService(ctx context.Context, s *servicePart) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	ctx, cancel := whole(ctx)
	defer cancel()
	if !v.b.fresh { // one that has died since an earlier process started it stays dead
		if state, err := v.engine.State(ctx, s.Name); err != nil || !state.Created {
			return err
		}
	}
	fmt.Fprintf(v.out, "Starting service %s...\n", s.Title)
	if err := v.engine.Start(ctx, s.Name); err != nil {
		return fmt.Errorf("service %s: %w", s.Title, err)
	}
	return nil
}

// createService makes the container of the i-th service and returns the ports that are to be reached.
func (v *environment) createService(ctx context.Context, i int, n needs) ([]uint16, error) {
	s := &v.b.Services[i]
	image, err := v.image(ctx, &s.part)
	if err != nil {
		return nil, err
	}
	ports, err := s.ports(image)
	if err != nil {
		return nil, err
	}
	for _, need := range []*step{n.network, n.volumes} {
		if err := need.wait(ctx); err != nil {
			return nil, err
		}
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return ports, v.create(ctx, &s.part, image, func(image *engineapi.Image) (client.ContainerCreateOptions, error) {
		return v.serviceContainer(i, image)
	})
}

// ports are those that are to be reached.
func (s *servicePart) ports(image *engineapi.Image) ([]uint16, error) {
	port, err := s.health(image.Env)
	if err == nil && port != 0 {
		return []uint16{port}, nil
	}
	return tcpPorts(image.Ports), err
}

// serviceContainer is what the engine is told to make of the i-th service.
func (v *environment) serviceContainer(i int, image *engineapi.Image) (client.ContainerCreateOptions, error) {
	s := &v.b.Services[i]
	c := &container.Config{Image: image.ID, User: s.User, Env: s.Env, Cmd: s.Command, Entrypoint: s.Entrypoint, Labels: s.Labels}
	h := &container.HostConfig{LogConfig: container.LogConfig{Type: "json-file"}, Init: v.init()}
	o := client.ContainerCreateOptions{Name: s.Name, Config: c, HostConfig: h, Platform: platform(s.Platform)}
	if err := v.confine(&o, v.e.o.Service.below(v.b.ServiceCgroup), s.Image); err != nil {
		return o, err
	}
	h.Privileged = h.Privileged && !s.Unprivileged
	if !dockeropt.Joins(v.b.Network) {
		if err := v.e.o.Service.applyNetwork(c, h); err != nil {
			return o, byAuthor("[runners.docker]: %w", err)
		}
	}
	endpoint := &network.EndpointSettings{Aliases: s.Aliases}
	if v.b.Network == "" {
		h.NetworkMode = container.NetworkMode(v.slot.Network)
		endpoint = slot.Endpoint(v.slot.Service(i), s.Aliases...)
		h.ExtraHosts = append(h.ExtraHosts, v.serviceHosts()...)
	} else if h.NetworkMode = container.NetworkMode(v.b.Network); !h.NetworkMode.IsUserDefined() {
		return o, nil // there are no names on host, none and a container's network
	}
	o.NetworkingConfig = &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{string(h.NetworkMode): endpoint}}
	return o, nil
}

// serviceHosts names all services and the job in each service: engines without a name server (and Podman
// with the CNI, whose one is often not installed) tell nobody.
func (v *environment) serviceHosts() []string {
	var out []string
	if a := v.slot.Job(); a.IsValid() {
		out = append(out, slot.JobAlias+":"+a.String())
	}
	for i := range v.b.Services {
		a := v.slot.Service(i)
		for _, alias := range v.b.Services[i].Aliases {
			if a.IsValid() && !strings.ContainsAny(alias, ":=") {
				out = append(out, alias+":"+a.String())
			}
		}
	}
	return out
}

// platform reads "os/arch[/variant]"; nil is the engine's own.
func platform(s string) *ocispec.Platform {
	if s == "" {
		return nil
	}
	system, rest, _ := strings.Cut(s, "/")
	arch, variant, _ := strings.Cut(rest, "/")
	return &ocispec.Platform{OS: system, Architecture: arch, Variant: variant}
}

// tcpPorts are the numbers of exposed ports such as "6379/tcp", sorted, the lowest maxPorts of them.
func tcpPorts(exposed []string) []uint16 {
	var out []uint16
	for _, p := range exposed {
		number, protocol, _ := strings.Cut(p, "/")
		if n, err := strconv.ParseUint(number, 10, 16); err == nil && (protocol == "" || protocol == "tcp") {
			out = append(out, uint16(n))
		}
	}
	slices.Sort(out)
	return out[:min(len(out), maxPorts)]
}
