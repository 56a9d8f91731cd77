package container

import (
	"cmp"
	"path/filepath"
	"strings"

	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
	"gitlab.com/skerry/skerry/internal/executor/container/images"
	"gitlab.com/skerry/skerry/internal/executor/container/slot"
	"gitlab.com/skerry/skerry/internal/job"
)

// Options is what the executor needs of the runner's configuration; it is journaled with each job.
// Keys that GitLab Runner has too are named and mean as in its [runners.docker].
type Options struct {
	Engine engineapi.Address `json:"engine"`
	// Dir is where environments keep their records and sockets, one directory each; only the runner's
	// user may enter it.
	Dir string `json:"dir"`
	// Agent is the installed agent's program; its directory is mounted into containers.
	Agent string `json:"agent"`
	// Scope begins the names of volumes that this runner entry's jobs use again.
	Scope string `json:"scope"`

	BuildsDir string `json:"builds_dir"`
	CacheDir  string `json:"cache_dir"`

	Image       string `json:"image"`        // of jobs that name none; may hold variables
	HelperImage string `json:"helper_image"` // any image with git; empty: one that is found or assembled

	Rules images.Rules `json:"rules"` // which images, services and users are allowed, and when images are pulled

	DisableCache bool              `json:"disable_cache,omitempty"`
	Volumes      []string          `json:"volumes,omitempty"` // "/path", "source:/path[:mode]"
	VolumesFrom  []string          `json:"volumes_from,omitempty"`
	NetworkMode  string            `json:"network_mode,omitempty"`
	NetworkMTU   int               `json:"network_mtu,omitempty"`
	Labels       map[string]string `json:"labels,omitempty"`
	Umask        *int              `json:"umask,omitempty"` // of all processes; nil: the image's

	Build    Limits         `json:"build"`
	Service  Limits         `json:"service"`
	Services []ServiceImage `json:"services,omitempty"` // the runner's own, before the job's

	User                  string `json:"user,omitempty"`
	EntrypointIsKept      bool   `json:"entrypoint_is_kept,omitempty"` // disable_entrypoint_overwrite
	WaitForServicesSecond int    `json:"wait_for_services,omitempty"`  // 0: 30, negative: they are not waited for
	ServicesLimit         *int   `json:"services_limit,omitempty"`     // of a job; nil or negative: none
	ServicesRequired      bool   `json:"services_required,omitempty"`  // a service that does not come up is the job's end
}

// Limits is how containers of one kind are confined and what they get of the host.
type Limits struct {
	Memory            int64             `json:"memory,omitempty"` // bytes
	MemorySwap        int64             `json:"memory_swap,omitempty"`
	MemoryReservation int64             `json:"memory_reservation,omitempty"`
	NanoCPUs          int64             `json:"nano_cpus,omitempty"`
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
}

// ServiceImage is a service of the runner's configuration.
type ServiceImage struct {
	job.Image
}

// kind is what the job's network is to be like.
func (o Options) kind(b *blueprint) slot.Kind {
	return slot.Kind{
		Owner: string(b.Ref.Owner), Image: cmp.Or(b.Helper.ImageID, b.Helper.Image), AgentDir: filepath.Dir(o.Agent), AgentVolume: b.Agent.Volume, MTU: o.NetworkMTU, Bits: slot.Bits(len(b.Services)),
		Hostname: o.Build.Hostname, DNS: o.Build.DNS, DNSSearch: o.Build.DNSSearch, ExtraHosts: o.Build.ExtraHosts, Sysctls: netSysctls(o.Build.Sysctls),
	}
}

// netSysctls are those of the network namespace.
func netSysctls(all map[string]string) map[string]string {
	var out map[string]string
	for k, v := range all {
		if strings.HasPrefix(k, "net.") {
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
