package container

import (
	"path/filepath"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/container/carrier"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
)

// Where the agent is in a place.
const (
	agentState = carrier.State
	agentExe   = carrier.Exe
)

// container is what the engine is told to make of a part.
func (v *environment) container(place executor.Place, p *part, image *engineapi.Image) client.ContainerCreateOptions {
	c := &container.Config{Image: image.ID, User: p.User, Labels: p.Labels}
	if place == executor.Helper {
		c.User = "0:0"
		c.Entrypoint, c.Cmd = start(nil)
	} else {
		c.Entrypoint, c.Cmd = start(p.entry(image))
	}
	h := &container.HostConfig{
		NetworkMode: container.NetworkMode(v.network()),
		LogConfig:   container.LogConfig{},
		Mounts:      v.mounts(place),
	}
	if place == executor.Build {
		v.e.o.Build.apply(c, h)
		h.Privileged = h.Privileged && !p.Unprivileged
	}
	return client.ContainerCreateOptions{Name: p.Name, Config: c, HostConfig: h}
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
// which look at their arguments, set up a profile or change the user go on working.
func start(entrypoint []string) (exec, cmd []string) {
	switch n := len(entrypoint); {
	case n == 0:
		return []string{agentExe}, nil
	case entrypoint[n-1] == "-c":
		return entrypoint, []string{agentExe}
	default:
		return entrypoint, []string{"sh", "-c", "exec " + agentExe}
	}
}

func (v *environment) mounts(place executor.Place) []mount.Mount {
	m := []mount.Mount{v.b.Agent.Mount(v.e.o.Agent)}
	if v.b.Agent.Volume == "" {
		m = append(m, mount.Mount{Type: mount.TypeBind, Source: filepath.Join(v.dir, string(place)), Target: agentState})
	}
	for _, vol := range v.b.Volumes {
		m = append(m, mount.Mount{Type: mount.TypeVolume, Source: vol.Name, Target: vol.Path})
	}
	return m
}

// apply sets limits and rights.
func (l Limits) apply(_ *container.Config, h *container.HostConfig) {
	h.Memory, h.MemorySwap, h.MemoryReservation = l.Memory, l.MemorySwap, l.MemoryReservation
	h.NanoCPUs, h.CPUShares, h.CpusetCpus = l.NanoCPUs, l.CPUShares, l.CPUSet
	h.Privileged, h.CapAdd, h.CapDrop, h.SecurityOpt = l.Privileged, l.CapAdd, l.CapDrop, l.SecurityOpt
}
