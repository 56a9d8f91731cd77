package slot

import (
	"fmt"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"gitlab.com/skerry/skerry/internal/agent/netslot"
	"gitlab.com/skerry/skerry/internal/dockeropt"
)

// Holder is what the engine is told to make of the container that holds a slot's namespace.
func Holder(s Slot, k Kind, labels map[string]string) (client.ContainerCreateOptions, error) {
	no := false
	o := client.ContainerCreateOptions{
		Name: s.Name,
		Config: &container.Config{
			Image: k.Image, User: "0:0", Entrypoint: []string{"/.skerry/bin/agent", netslot.CommandPause},
			Hostname: k.Hostname, Labels: labels,
		},
		HostConfig: &container.HostConfig{
			NetworkMode: container.NetworkMode(s.Network),
			UsernsMode:  container.UsernsMode(k.UsernsMode),
			Init:        &no,
			CapDrop:     []string{"ALL"},
			SecurityOpt: []string{"no-new-privileges"},
			Mounts:      []mount.Mount{k.agent()},
			Tmpfs:       map[string]string{"/.skerry/state": "size=256k,mode=0700"},
			DNSSearch:   k.DNSSearch,
			Sysctls:     k.Sysctls,
		},
	}
	if k.Doors != "" {
		o.HostConfig.Mounts = append(o.HostConfig.Mounts, mount.Mount{Type: mount.TypeBind, Source: k.door(s.Name), Target: netslot.Door})
	}
	for _, text := range k.DNS {
		a, err := dockeropt.DNS(text)
		if err != nil {
			return o, fmt.Errorf("dns in [runners.docker]: %w", err)
		}
		o.HostConfig.DNS = append(o.HostConfig.DNS, a)
	}
	for _, text := range k.ExtraHosts {
		line, err := dockeropt.Host(text)
		if err != nil {
			return o, fmt.Errorf("extra_hosts in [runners.docker]: %w", err)
		}
		o.HostConfig.ExtraHosts = append(o.HostConfig.ExtraHosts, line)
	}
	// A slot has no routes to others. The engines' walls between networks are gone for moments: Podman's whenever a network is
	// removed (netavark 1.4 takes the rule away that leads to the rules of all), Docker's whenever one is made (the same rule
	// is taken out, to be put in front of all).
	o.Config.Entrypoint = append(o.Config.Entrypoint, space)
	o.HostConfig.CapAdd = []string{"NET_ADMIN"}
	endpoint := Endpoint(s.Job(), JobAlias)
	if k.MAC != "" {
		endpoint.MacAddress = network.HardwareAddr(k.MAC)
	}
	o.NetworkingConfig = &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{s.Network: endpoint}}
	return o, nil
}

// agent is the mount of the agent's program.
func (k Kind) agent() mount.Mount {
	m := mount.Mount{Type: mount.TypeBind, Source: k.AgentDir, Target: "/.skerry/bin", ReadOnly: true}
	if k.AgentVolume != "" {
		m.Type, m.Source, m.VolumeOptions = mount.TypeVolume, k.AgentVolume, &mount.VolumeOptions{NoCopy: true}
	}
	return m
}
