package container

import (
	"net"
	"path/filepath"

	"gitlab.com/skerry/skerry/internal/executor/container/disk"
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

	DisableCache    bool              `json:"disable_cache,omitempty"`
	HostCacheDir    string            `json:"host_cache_dir,omitempty"` // holds what would be in volumes
	Volumes         []string          `json:"volumes,omitempty"`        // see dockeropt.ParseVolume
	VolumesFrom     []string          `json:"volumes_from,omitempty"`
	VolumeKeep      bool              `json:"volume_keep,omitempty"` // do not remove volumes that have no name
	VolumeDriver    string            `json:"volume_driver,omitempty"`
	VolumeDriverOps map[string]string `json:"volume_driver_ops,omitempty"`

	NetworkMode string            `json:"network_mode,omitempty"` // see dockeropt.NetworkMode
	NetworkMTU  int               `json:"network_mtu,omitempty"`
	EnableIPv6  bool              `json:"enable_ipv6,omitempty"`
	MACAddress  string            `json:"mac_address,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	LogOptions  map[string]string `json:"log_options,omitempty"`

	// Umask is that of all processes of the helper, whose files are the job's to change; nil: the image's.
	Umask *int `json:"umask,omitempty"`
	// Flags are feature flags that the runner's configuration sets; they win over the job's variables.
	Flags map[string]bool `json:"flags,omitempty"`

	Build    Limits         `json:"build"`
	Service  Limits         `json:"service"`
	Services []ServiceImage `json:"services,omitempty"` // the runner's own, before the job's

	// SlotCgroup and ServiceSlotCgroup name the control groups below which the containers of a job and its services are, with ${slot} for the
	// job's place; "": those of Build and Service.
	SlotCgroup        string `json:"slot_cgroup,omitempty"`
	ServiceSlotCgroup string `json:"service_slot_cgroup,omitempty"`

	Disk disk.Policy `json:"disk,omitzero"` // how much may stay on the engine's disk

	Nix *Nix `json:"nix,omitempty"` // nil: jobs have nothing of it

	Nested *Nested `json:"nested,omitempty"` // nil: jobs have no engine of their own

	User                  string `json:"user,omitempty"`
	EntrypointIsKept      bool   `json:"entrypoint_is_kept,omitempty"` // disable_entrypoint_overwrite
	WaitForServicesSecond int    `json:"wait_for_services,omitempty"`  // 0: 30, negative: they are not waited for
	ServicesLimit         *int   `json:"services_limit,omitempty"`     // of a job; nil or negative: none
	ServicesRequired      bool   `json:"services_required,omitempty"`  // a service that does not come up is the job's end
}

// ServiceImage is a service of the runner's configuration.
type ServiceImage struct {
	job.Image
}

// doors is where the holders of networks answer.
func (o Options) doors() string { return filepath.Join(o.Dir, ".slots") }

// kind is what the job's network is to be like.
func (o Options) kind(b *blueprint, mac net.HardwareAddr) slot.Kind {
	doors := o.doors()
	if b.Agent.Volume != "" {
		doors = "" // the engine shares no directories
	}
	return slot.Kind{
		Owner: string(b.Ref.Owner), Image: b.helperImage(), AgentDir: filepath.Dir(o.Agent), AgentVolume: b.Agent.Volume, Doors: doors,
		MTU: o.NetworkMTU, Bits: slot.Bits(len(b.Services)), IPv6: o.EnableIPv6, MAC: string(mac),
		Hostname: o.Build.Hostname, DNS: o.Build.DNS, DNSSearch: o.Build.DNSSearch, ExtraHosts: o.Build.ExtraHosts,
		Sysctls: netSysctls(o.Build.Sysctls, true), Links: o.links(b), UsernsMode: o.Build.UsernsMode,
	}
}

// links are the containers that are connected to the job's network.
func (o Options) links(b *blueprint) []string {
	if b.Shared == nil {
		return o.Build.Links
	}
	return append(o.Build.Links[:len(o.Build.Links):len(o.Build.Links)], b.Shared.Name)
}
