package config

import "time"

// Docker is [runners.docker]: how jobs run in containers of a Docker or Podman engine. Sizes
// are strings such as "512m" (see ParseSize) unless the field is a number, then bytes.
type Docker struct {
	Host                       string              `toml:"host" flag:"host" env:"DOCKER_HOST"`
	TLSCertPath                string              `toml:"tls_cert_path" flag:"cert-path" env:"DOCKER_CERT_PATH"`
	TLSVerify                  bool                `toml:"tls_verify" flag:"tlsverify" env:"DOCKER_TLS_VERIFY"`
	Hostname                   string              `toml:"hostname" flag:"hostname" env:"DOCKER_HOSTNAME"`
	Image                      string              `toml:"image" flag:"image" env:"DOCKER_IMAGE"`
	Runtime                    string              `toml:"runtime" flag:"runtime" env:"DOCKER_RUNTIME"`
	Memory                     string              `toml:"memory" flag:"memory" env:"DOCKER_MEMORY"`
	MemorySwap                 string              `toml:"memory_swap" flag:"memory-swap" env:"DOCKER_MEMORY_SWAP"`
	MemoryReservation          string              `toml:"memory_reservation" flag:"memory-reservation" env:"DOCKER_MEMORY_RESERVATION"`
	CgroupParent               string              `toml:"cgroup_parent" flag:"cgroup-parent" env:"DOCKER_CGROUP_PARENT"`
	CPUSetCPUs                 string              `toml:"cpuset_cpus" flag:"cpuset-cpus" env:"DOCKER_CPUSET_CPUS"`
	CPUSetMems                 string              `toml:"cpuset_mems" flag:"cpuset-mems" env:"DOCKER_CPUSET_MEMS"`
	CPUs                       string              `toml:"cpus" flag:"cpus" env:"DOCKER_CPUS"`
	CPUShares                  int64               `toml:"cpu_shares" flag:"cpu-shares" env:"DOCKER_CPU_SHARES"`
	DNS                        []string            `toml:"dns" flag:"dns" env:"DOCKER_DNS"`
	DNSSearch                  []string            `toml:"dns_search" flag:"dns-search" env:"DOCKER_DNS_SEARCH"`
	Privileged                 bool                `toml:"privileged" flag:"privileged" env:"DOCKER_PRIVILEGED"`
	ServicesPrivileged         *bool               `toml:"services_privileged" flag:"services_privileged" env:"DOCKER_SERVICES_PRIVILEGED"`
	DisableEntrypointOverwrite bool                `toml:"disable_entrypoint_overwrite" flag:"disable-entrypoint-overwrite" env:"DOCKER_DISABLE_ENTRYPOINT_OVERWRITE"`
	User                       string              `toml:"user" flag:"user" env:"DOCKER_USER"`
	AllowedUsers               []string            `toml:"allowed_users" flag:"allowed_users" env:"DOCKER_ALLOWED_USERS"`
	GroupAdd                   []string            `toml:"group_add" flag:"group-add" env:"DOCKER_GROUP_ADD"`
	UsernsMode                 string              `toml:"userns_mode" flag:"userns" env:"DOCKER_USERNS_MODE"`
	CapAdd                     []string            `toml:"cap_add" flag:"cap-add" env:"DOCKER_CAP_ADD"`
	CapDrop                    []string            `toml:"cap_drop" flag:"cap-drop" env:"DOCKER_CAP_DROP"`
	OOMKillDisable             bool                `toml:"oom_kill_disable" flag:"oom-kill-disable" env:"DOCKER_OOM_KILL_DISABLE"`
	OOMScoreAdjust             int                 `toml:"oom_score_adjust" flag:"oom-score-adjust" env:"DOCKER_OOM_SCORE_ADJUST"`
	SecurityOpt                []string            `toml:"security_opt" flag:"security-opt" env:"DOCKER_SECURITY_OPT"`
	ServicesSecurityOpt        []string            `toml:"services_security_opt" flag:"services-security-opt" env:"DOCKER_SERVICES_SECURITY_OPT"`
	Devices                    []string            `toml:"devices" flag:"devices" env:"DOCKER_DEVICES"`
	DeviceCgroupRules          []string            `toml:"device_cgroup_rules" flag:"device-cgroup-rules" env:"DOCKER_DEVICE_CGROUP_RULES"`
	GPUs                       string              `toml:"gpus" flag:"gpus" env:"DOCKER_GPUS"`
	ServicesDevices            map[string][]string `toml:"services_devices" flag:"services_devices" env:"DOCKER_SERVICES_DEVICES"`
	DisableCache               bool                `toml:"disable_cache" flag:"disable-cache" env:"DOCKER_DISABLE_CACHE"`
	Volumes                    []string            `toml:"volumes" flag:"volumes" env:"DOCKER_VOLUMES"`
	VolumeKeep                 bool                `toml:"volume_keep" flag:"volume-keep" env:"DOCKER_VOLUME_KEEP"`
	VolumeDriver               string              `toml:"volume_driver" flag:"volume-driver" env:"DOCKER_VOLUME_DRIVER"`
	VolumeDriverOps            map[string]string   `toml:"volume_driver_ops" flag:"volume-driver-ops" env:"DOCKER_VOLUME_DRIVER_OPS"`
	CacheDir                   string              `toml:"cache_dir" flag:"cache-dir" env:"DOCKER_CACHE_DIR"`
	ExtraHosts                 []string            `toml:"extra_hosts" flag:"extra-hosts" env:"DOCKER_EXTRA_HOSTS"`
	VolumesFrom                []string            `toml:"volumes_from" flag:"volumes-from" env:"DOCKER_VOLUMES_FROM"`
	NetworkMode                string              `toml:"network_mode" flag:"network-mode" env:"DOCKER_NETWORK_MODE"`
	PIDMode                    string              `toml:"pid_mode" flag:"pid-mode" env:"DOCKER_PID_MODE"`
	IPCMode                    string              `toml:"ipcmode" flag:"ipcmode" env:"DOCKER_IPC_MODE"`
	MacAddress                 string              `toml:"mac_address" flag:"mac-address" env:"DOCKER_MAC_ADDRESS"`
	Links                      []string            `toml:"links" flag:"links" env:"DOCKER_LINKS"`
	Services                   []Service           `toml:"services"`
	ServicesRequired           bool                `toml:"services_required" flag:"services-required" env:"DOCKER_SERVICES_REQUIRED" help:"end a job when one of its services does not come up"` // Skerry's own
	ServicesLimit              *int                `toml:"services_limit" flag:"services-limit" env:"DOCKER_SERVICES_LIMIT"`
	ServiceMemory              string              `toml:"service_memory" flag:"service-memory" env:"DOCKER_SERVICE_MEMORY"`
	ServiceMemorySwap          string              `toml:"service_memory_swap" flag:"service-memory-swap" env:"DOCKER_SERVICE_MEMORY_SWAP"`
	ServiceMemoryReservation   string              `toml:"service_memory_reservation" flag:"service-memory-reservation" env:"DOCKER_SERVICE_MEMORY_RESERVATION"`
	ServiceCgroupParent        string              `toml:"service_cgroup_parent" flag:"service-cgroup-parent" env:"DOCKER_SERVICE_CGROUP_PARENT"`
	ServiceSlotCgroupTemplate  string              `toml:"service_slot_cgroup_template" flag:"service-slot-cgroup-template" env:"DOCKER_SERVICE_SLOT_CGROUP_TEMPLATE"`
	ServiceCPUSetCPUs          string              `toml:"service_cpuset_cpus" flag:"service-cpuset-cpus" env:"DOCKER_SERVICE_CPUSET_CPUS"`
	ServiceCPUs                string              `toml:"service_cpus" flag:"service-cpus" env:"DOCKER_SERVICE_CPUS"`
	ServiceCPUShares           int64               `toml:"service_cpu_shares" flag:"service-cpu-shares" env:"DOCKER_SERVICE_CPU_SHARES"`
	ServiceGPUs                string              `toml:"service_gpus" flag:"service_gpus" env:"DOCKER_SERVICE_GPUS"`
	WaitForServicesTimeout     int                 `toml:"wait_for_services_timeout" flag:"wait-for-services-timeout" env:"DOCKER_WAIT_FOR_SERVICES_TIMEOUT"`
	AllowedImages              []string            `toml:"allowed_images" flag:"allowed-images" env:"DOCKER_ALLOWED_IMAGES"`
	AllowedPrivilegedImages    []string            `toml:"allowed_privileged_images" flag:"allowed-privileged-images" env:"DOCKER_ALLOWED_PRIVILEGED_IMAGES"`
	AllowedPrivilegedServices  []string            `toml:"allowed_privileged_services" flag:"allowed-privileged-services" env:"DOCKER_ALLOWED_PRIVILEGED_SERVICES"`
	AllowedPullPolicies        StringList          `toml:"allowed_pull_policies" flag:"allowed-pull-policies" env:"DOCKER_ALLOWED_PULL_POLICIES"`
	AllowedServices            []string            `toml:"allowed_services" flag:"allowed-services" env:"DOCKER_ALLOWED_SERVICES"`
	PullPolicy                 StringList          `toml:"pull_policy" flag:"pull-policy" env:"DOCKER_PULL_POLICY"`
	Isolation                  string              `toml:"isolation" flag:"isolation" env:"DOCKER_ISOLATION"`
	ShmSize                    int64               `toml:"shm_size" flag:"shm-size" env:"DOCKER_SHM_SIZE"`
	Tmpfs                      map[string]string   `toml:"tmpfs" flag:"tmpfs" env:"DOCKER_TMPFS"`
	ServicesTmpfs              map[string]string   `toml:"services_tmpfs" flag:"services-tmpfs" env:"DOCKER_SERVICES_TMPFS"`
	Sysctls                    map[string]string   `toml:"sysctls" flag:"sysctls" env:"DOCKER_SYSCTLS"`
	HelperImage                string              `toml:"helper_image" flag:"helper-image" env:"DOCKER_HELPER_IMAGE"`
	HelperImageFlavor          string              `toml:"helper_image_flavor" flag:"helper-image-flavor" env:"DOCKER_HELPER_IMAGE_FLAVOR"`
	ContainerLabels            map[string]string   `toml:"container_labels" flag:"container-labels"`
	EnableIPv6                 bool                `toml:"enable_ipv6" flag:"enable-ipv6"`
	Ulimit                     map[string]string   `toml:"ulimit" flag:"ulimit" env:"DOCKER_ULIMIT"`
	NetworkMTU                 int                 `toml:"network_mtu" flag:"network-mtu"`
	LogOptions                 map[string]string   `toml:"log_options" flag:"log-options" env:"DOCKER_LOG_OPTIONS"`

	PidsLimit int64 `toml:"pids_limit" flag:"pids-limit" env:"DOCKER_PIDS_LIMIT" help:"processes and threads that a job may have, -1: any number"` // Skerry's own; 0: what the engine gives

	Nested       string `toml:"nested" flag:"nested" help:"off; podman: each job has an engine of its own for containers; shared: all jobs have one together"`                                  // Skerry's own; default NestedOff
	NestedFor    string `toml:"nested_for" flag:"nested-for" help:"all jobs, or asking: those with the variable SKERRY_NESTED"`                                                                 // Skerry's own; default NestedForAll
	NestedImages string `toml:"nested_images" flag:"nested-images" help:"off, or which jobs are offered images of each other's engines: all, runner, protected, project"`                       // Skerry's own; default NestedImagesOff
	NestedImage  string `toml:"nested_image" flag:"nested-image" help:"image of these engines"`                                                                                                 // Skerry's own; default DefaultNestedImage
	NestedDisk   string `toml:"nested_disk" flag:"nested-disk" help:"what such an engine may keep on disk: a size (\"20GB\"), a share of what is free without it (\"50%\"), or -1: any amount"` // Skerry's own; default DefaultNestedDisk, see ParseNestedDisk

	DiskBudget string         `toml:"disk_budget" flag:"disk-budget" help:"what jobs may leave on the engine's disk: a size (\"50GB\"), or how full its file system may be (\"80%\")"` // Skerry's own; see ParseBudget
	VolumeTTL  *time.Duration `toml:"volume_ttl" flag:"volume-ttl" help:"remove a volume of builds or caches that no job has used for so long; 0s: never"`                             // Skerry's own; default 2160h
}

// The values of Docker.Nested.
const (
	NestedOff    = "off"
	NestedPodman = "podman"
	NestedShared = "shared"
)

// The values of Docker.NestedFor.
const (
	NestedForAll    = "all"
	NestedForAsking = "asking"
)

// NestedImagesOff is the value of Docker.NestedImages that is no trust.
const NestedImagesOff = "off"

// DefaultNestedImage is the name under which `skerry image build podman` leaves its image.
const DefaultNestedImage = "localhost/skerry-podman"

// DefaultNestedDisk lets an engine keep as much as it leaves free: so a job fills no file system with it, however large that is, and
// neither do several at once.
const DefaultNestedDisk = "50%"

// Service is one entry of [[runners.docker.services]] or [[runners.kubernetes.services]].
type Service struct {
	Name            string   `toml:"name" flag:"name"`
	Alias           string   `toml:"alias" flag:"alias"`
	Command         []string `toml:"command" flag:"command"`
	Entrypoint      []string `toml:"entrypoint" flag:"entrypoint"`
	Environment     []string `toml:"environment" flag:"env"`
	SuspendDataPath string   `toml:"suspend_data_path" flag:"suspend-data-path" state:"todo"`
}
