package container

import (
	"fmt"
	"net"
	"path"
	"path/filepath"
	"slices"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"github.com/moby/moby/client/pkg/versions"

	"gitlab.com/skerry/skerry/internal/dockeropt"
	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/container/carrier"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
	"gitlab.com/skerry/skerry/internal/job"
)

// Where the agent is in a place.
const (
	agentState = carrier.State
	agentExe   = carrier.Exe
)

// container is what the engine is told to make of a place's part.
func (v *environment) container(place executor.Place, p *part, image *engineapi.Image) (client.ContainerCreateOptions, error) {
	o := client.ContainerCreateOptions{
		Name:       p.Name,
		Config:     &container.Config{Image: image.ID, User: p.User, Labels: p.Labels},
		HostConfig: &container.HostConfig{},
	}
	limits := v.buildLimits()
	if place == executor.Helper {
		limits = v.e.o.Build.helper()
		o.Config.User = "0:0"
		o.Config.Entrypoint, o.Config.Cmd = start(nil)
	} else {
		limits.Privileged = limits.Privileged && !p.Unprivileged
		limits = limits.forBuilds(v.engine)
		entry := p.entry(image)
		if o.Config.Entrypoint, o.Config.Cmd = start(entry); len(entry) > 0 {
			o.Config.Env = p.Env // stages bring their own; the engine need not know it for them
		}
	}
	if err := v.confine(&o, limits.below(v.b.Cgroup), v.b.now(p).Image); err != nil {
		return o, err
	}
	h := o.HostConfig
	if h.Init = v.init(); place == executor.Helper {
		h.Init = nil
	}
	h.VolumesFrom = v.e.o.VolumesFrom
	ours := []mount.Mount{v.b.Agent.Mount(v.e.o.Agent)}
	if v.b.Agent.Volume == "" {
		ours = append(ours, mount.Mount{Type: mount.TypeBind, Source: filepath.Join(v.dir, string(place)), Target: agentState})
	}
	if place == executor.Build && (v.b.Nested != nil || v.b.Shared != nil) {
		ours = append(ours, v.nestedMount(true))
	}
	h.Mounts = slices.Concat(ours, v.nixMounts(place), h.Mounts)
	return o, v.join(&o, place)
}

// confine sets what places and services have in common: limits and rights, the job's files, the log.
func (v *environment) confine(o *client.ContainerCreateOptions, l Limits, image string) error {
	err := groupable(v.engine, l.CgroupParent)
	if err == nil {
		err = l.apply(o.HostConfig, image, v.engine, &v.e.host.builds)
	}
	if err != nil {
		return &executor.Failure{Reason: job.ReasonConfiguration, Err: fmt.Errorf("[runners.docker]: %w", err)}
	}
	o.HostConfig.Binds, o.HostConfig.Mounts = v.b.files()
	if len(v.e.o.LogOptions) > 0 {
		o.HostConfig.LogConfig = container.LogConfig{Type: "json-file", Config: v.e.o.LogOptions}
	}
	return nil
}

// init is whether containers of images get a first process that reaps; nil leaves it to the engine.
func (v *environment) init() *bool {
	if !v.b.Init {
		return nil
	}
	return &v.b.Init
}

// join connects a place's container to the job's network, or to what network_mode says.
func (v *environment) join(o *client.ContainerCreateOptions, place executor.Place) error {
	mode, err := dockeropt.NetworkMode(v.b.Network)
	if err != nil {
		return fmt.Errorf("network_mode in [runners.docker]: %w", err)
	}
	h := o.HostConfig
	switch {
	case mode.Mode == "": // all that belongs to the namespace is the holder's
		h.NetworkMode = container.NetworkMode("container:" + v.slot.Name)
		if v.engine.Kind == engineapi.Podman { // the host name does not come with the network there
			o.Config.Hostname = v.e.o.Build.Hostname
		}
		if h.UsernsMode != "" && !h.UsernsMode.IsHost() && v.engine.Kind == engineapi.Podman {
			h.UsernsMode = container.UsernsMode("container:" + v.slot.Name)
		}
		return nil
	case mode.Joined:
		h.NetworkMode = container.NetworkMode(mode.Mode)
		return nil
	case place == executor.Helper && mode.Mode == "none":
		h.NetworkMode = "bridge" // nothing of the job's runs there, and the sources have to be fetched
		return nil
	}
	h.NetworkMode = container.NetworkMode(mode.Mode)
	if err := v.e.o.Build.applyNetwork(o.Config, h); err != nil {
		return &executor.Failure{Reason: job.ReasonConfiguration, Err: fmt.Errorf("[runners.docker]: %w", err)}
	}
	if place != executor.Build || !mode.Named {
		return nil
	}
	mac, err := v.mac()
	if err != nil {
		return err
	}
	o.NetworkingConfig = &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{
		mode.Mode: {Aliases: []string{"build"}, Links: v.e.o.Build.Links, MacAddress: network.HardwareAddr(mac)},
	}}
	return nil
}

// mac is the address that the configuration gives to the job's network card; nil: the engine's choice.
func (v *environment) mac() (net.HardwareAddr, error) {
	mac, err := dockeropt.MAC(v.e.o.MACAddress)
	if err == nil && mac != nil && v.engine.Kind == engineapi.Docker && versions.LessThan(v.engine.API, "1.44") {
		err = fmt.Errorf("needs Docker 25 or later, or Podman; this engine is %s", v.engine)
	}
	if err != nil {
		return nil, &executor.Failure{Reason: job.ReasonConfiguration, Err: fmt.Errorf("mac_address in [runners.docker]: %w", err)}
	}
	return mac, nil
}

// entry is the entrypoint that counts: the job's, else the image's.
func (p *part) entry(image *engineapi.Image) []string {
	entry := image.Entrypoint
	if p.Entrypoint != nil {
		entry = p.Entrypoint
	}
	if len(entry) == 1 && entry[0] == "" {
		return nil
	}
	return entry
}

// start is how the agent is started under an entrypoint: as GitLab Runner's shell is, so that entrypoints
// which look at their arguments, set up a profile or change the user go on working. A shell as the entrypoint
// would take "sh" for the name of a script.
func start(entrypoint []string) (exec, cmd []string) {
	run := "exec " + agentExe
	switch n := len(entrypoint); {
	case n == 0:
		return []string{agentExe}, nil
	case entrypoint[n-1] == "-c":
		return entrypoint, []string{run}
	case n == 1 && isShell(entrypoint[0]):
		return entrypoint, []string{"-c", run}
	default:
		return entrypoint, []string{"sh", "-c", run}
	}
}

func isShell(program string) bool {
	switch path.Base(program) {
	case "sh", "bash", "ash", "dash", "ksh", "mksh", "zsh":
		return true
	}
	return false
}
