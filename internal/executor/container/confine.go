package container

import (
	"cmp"
	"fmt"
	"os"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client/pkg/versions"

	"gitlab.com/skerry/skerry/internal/dockeropt"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
)

// Limits is how containers of one kind are confined and what they get of the host.
type Limits struct {
	Memory            int64             `json:"memory,omitempty"` // bytes
	MemorySwap        int64             `json:"memory_swap,omitempty"`
	MemoryReservation int64             `json:"memory_reservation,omitempty"`
	NanoCPUs          int64             `json:"nano_cpus,omitempty"`
	Pids              int64             `json:"pids,omitempty"` // processes and threads; 0: as many as the engine gives, -1: any number
	CPUShares         int64             `json:"cpu_shares,omitempty"`
	CPUSet            string            `json:"cpu_set,omitempty"`
	Privileged        bool              `json:"privileged,omitempty"`
	CapAdd            []string          `json:"cap_add,omitempty"`
	CapDrop           []string          `json:"cap_drop,omitempty"`
	SecurityOpt       []string          `json:"security_opt,omitempty"`
	Devices           []string          `json:"devices,omitempty"` // "/dev/kvm[:/dev/kvm[:rwm]]"
	GPUs              string            `json:"gpus,omitempty"`
	Runtime           string            `json:"runtime,omitempty"`
	UsernsMode        string            `json:"userns_mode,omitempty"`
	PIDMode           string            `json:"pid_mode,omitempty"`
	IPCMode           string            `json:"ipc_mode,omitempty"`
	ShmSize           int64             `json:"shm_size,omitempty"` // bytes
	Tmpfs             map[string]string `json:"tmpfs,omitempty"`
	Sysctls           map[string]string `json:"sysctls,omitempty"`
	Ulimit            map[string]string `json:"ulimit,omitempty"` // "nofile": "1024[:2048]"
	DNS               []string          `json:"dns,omitempty"`
	DNSSearch         []string          `json:"dns_search,omitempty"`
	ExtraHosts        []string          `json:"extra_hosts,omitempty"`
	Hostname          string            `json:"hostname,omitempty"`
	GroupAdd          []string          `json:"group_add,omitempty"`
	Links             []string          `json:"links,omitempty"`
	CPUSetMems        string            `json:"cpu_set_mems,omitempty"`
	CgroupParent      string            `json:"cgroup_parent,omitempty"`
	DeviceRules       []string          `json:"device_rules,omitempty"`
	OOMKillDisable    bool              `json:"oom_kill_disable,omitempty"`
	OOMScoreAdjust    int               `json:"oom_score_adjust,omitempty"`

	// ImageDevices are further devices for images whose names match a pattern.
	ImageDevices map[string][]string `json:"image_devices,omitempty"`
}

// apply sets limits and rights of a container of an image. What belongs to the network namespace is set by
// whoever makes that: see applyNetwork.
func (l Limits) apply(h *container.HostConfig, image string, engine *engineapi.Engine, builds *buildsProfile) (err error) {
	h.Memory, h.MemorySwap, h.MemoryReservation = l.Memory, l.MemorySwap, l.MemoryReservation
	h.NanoCPUs, h.CPUShares, h.CpusetCpus, h.CpusetMems = l.NanoCPUs, l.CPUShares, l.CPUSet, l.CPUSetMems
	h.Privileged, h.CapAdd, h.CapDrop = l.Privileged, l.CapAdd, l.CapDrop
	h.CgroupParent, h.DeviceCgroupRules, h.OomScoreAdj = l.CgroupParent, l.DeviceRules, l.OOMScoreAdjust
	h.Runtime, h.ShmSize, h.Tmpfs, h.GroupAdd = l.Runtime, l.ShmSize, l.Tmpfs, l.GroupAdd
	h.UsernsMode, h.PidMode, h.IpcMode = container.UsernsMode(l.UsernsMode), container.PidMode(l.PIDMode), container.IpcMode(l.IPCMode)
	h.Sysctls = netSysctls(l.Sysctls, false)
	if l.Pids != 0 {
		h.PidsLimit = &l.Pids
	}
	if l.OOMKillDisable {
		h.OomKillDisable = &l.OOMKillDisable
	}
	more, err := dockeropt.DevicesFor(image, l.ImageDevices)
	if err != nil {
		return fmt.Errorf("services_devices: %w", err)
	}
	if h.Devices, err = dockeropt.Devices(append(l.Devices[:len(l.Devices):len(l.Devices)], more...)); err != nil {
		return fmt.Errorf("devices: %w", err)
	}
	if h.DeviceRequests, err = dockeropt.GPUs(l.GPUs); err != nil {
		return fmt.Errorf("gpus: %w", err)
	}
	if h.Ulimits, err = dockeropt.Ulimits(l.Ulimit); err != nil {
		return fmt.Errorf("ulimit: %w", err)
	}
	h.SecurityOpt, err = securityOptions(l.SecurityOpt, engine, builds)
	return err
}

// helper is what of the limits counts for the helper, too: what lets it reach the job's files, and whose account
// it is on.
func (l Limits) helper() Limits {
	h := Limits{UsernsMode: l.UsernsMode, CgroupParent: l.CgroupParent}
	for _, s := range l.SecurityOpt {
		if strings.HasPrefix(s, "label") {
			h.SecurityOpt = append(h.SecurityOpt, s)
		}
	}
	return h
}

// below is the limits with another parent for the container's control group, if there is one.
func (l Limits) below(parent string) Limits {
	l.CgroupParent = cmp.Or(parent, l.CgroupParent)
	return l
}

// applyNetwork sets what belongs to a network namespace, for a container that has one of its own.
func (l Limits) applyNetwork(c *container.Config, h *container.HostConfig) error {
	c.Hostname, h.DNSSearch = l.Hostname, l.DNSSearch
	for k, v := range netSysctls(l.Sysctls, true) {
		if h.Sysctls == nil {
			h.Sysctls = map[string]string{}
		}
		h.Sysctls[k] = v
	}
	for _, s := range l.DNS {
		a, err := dockeropt.DNS(s)
		if err != nil {
			return fmt.Errorf("dns: %w", err)
		}
		h.DNS = append(h.DNS, a)
	}
	var err error
	h.ExtraHosts, err = hosts(l.ExtraHosts)
	return err
}

// hosts are lines for a hosts file as the engines take them.
func hosts(list []string) ([]string, error) {
	var out []string
	for _, s := range list {
		line, err := dockeropt.Host(s)
		if err != nil {
			return nil, fmt.Errorf("extra_hosts: %w", err)
		}
		out = append(out, line)
	}
	return out, nil
}

// seccompOption begins the security option that names a file.
const seccompOption = "seccomp="

// securityOptions puts the seccomp profile that an option names by its path in the path's place: Docker's engine
// wants the text, Podman's reads the file itself. The profile imageBuilds is ours; the engine's own is asked for by
// no word where the engine knows none.
func securityOptions(list []string, engine *engineapi.Engine, builds *buildsProfile) ([]string, error) {
	var out []string
	for _, s := range list {
		path, ok := strings.CutPrefix(s, seccompOption)
		switch {
		case !ok:
		case engine.Kind == engineapi.Podman && (path == imageBuilds || path == engineapi.SeccompBuiltin):
			continue
		case engine.Kind == engineapi.Podman:
		case path == imageBuilds:
			profile, err := builds.get()
			if err != nil {
				return nil, err
			}
			s = seccompOption + profile
		case path == engineapi.SeccompBuiltin && versions.LessThan(engine.API, "1.42"): // Docker 23
			continue
		case path != "unconfined" && path != engineapi.SeccompBuiltin && !strings.HasPrefix(path, "{"):
			profile, err := os.ReadFile(path)
			if err != nil {
				return nil, fmt.Errorf("security_opt: read the seccomp profile: %w", err)
			}
			s = seccompOption + string(profile)
		}
		out = append(out, s)
	}
	return out, nil
}

// netSysctls are those settings of the kernel that belong to the network namespace, or the others.
func netSysctls(all map[string]string, network bool) map[string]string {
	var out map[string]string
	for k, v := range all {
		if strings.HasPrefix(k, "net.") == network {
			if out == nil {
				out = map[string]string{}
			}
			out[k] = v
		}
	}
	return out
}

// harmless reports whether a job has no rights over its network.
func (l Limits) harmless() bool {
	if l.Privileged || l.UsernsMode != "" {
		return false
	}
	for _, c := range l.CapAdd {
		switch strings.TrimPrefix(strings.ToUpper(c), "CAP_") {
		case "ALL", "NET_ADMIN", "SYS_ADMIN", "SYS_MODULE", "BPF":
			return false
		}
	}
	return true
}
