package config

import (
	"maps"
	"slices"
	"strings"

	"gitlab.com/skerry/skerry/internal/config/schema"
	"gitlab.com/skerry/skerry/internal/dockeropt"
)

func validateDocker(r *Runner, d *schema.Decoder, at string) {
	k := r.Docker
	if container := r.Executor == "docker" || r.Executor == "podman"; k == nil || !container {
		if container {
			refuse(d, r, schema.Join(at, "docker"), "is missing: add a [runners.docker] section with an image")
		}
		return
	}
	at = schema.Join(at, "docker")
	no := func(path, format string, args ...any) { refuse(d, r, path, format, args...) }
	if k.Image == "" {
		no(schema.Join(at, "image"), "is missing: set it to the image for jobs that name none")
	}
	for _, p := range k.PullPolicy {
		oneOf(no, schema.Join(at, "pull_policy"), p, "always", "if-not-present", "never")
	}
	for _, p := range k.AllowedPullPolicies {
		oneOf(no, schema.Join(at, "allowed_pull_policies"), p, "always", "if-not-present", "never")
	}
	k.validateSizes(no, at)
	k.validateValues(no, at)
	k.validateLists(no, at)
	k.validateVolumes(no, at)
	k.validateNetwork(no, at)
	k.validateNested(no, d.Warn, at)
	k.warnOfNixDaemons(d.Warn, at)
}

// say reports err, if there is one, for a key.
func say(no report, path string, err error) {
	if err != nil {
		no(path, "%v", err)
	}
}

func (k *Docker) validateSizes(no report, at string) {
	for _, s := range []struct {
		key, value string
		unlimited  bool // -1 is a value
	}{
		{"memory", k.Memory, false},
		{"memory_swap", k.MemorySwap, true},
		{"memory_reservation", k.MemoryReservation, false},
		{"service_memory", k.ServiceMemory, false},
		{"service_memory_swap", k.ServiceMemorySwap, true},
		{"service_memory_reservation", k.ServiceMemoryReservation, false},
	} {
		if s.value == "" || s.unlimited && s.value == "-1" {
			continue
		}
		_, err := ParseSize(s.value)
		say(no, schema.Join(at, s.key), err)
	}
	for _, s := range [][2]string{{"cpus", k.CPUs}, {"service_cpus", k.ServiceCPUs}} {
		_, err := dockeropt.CPUs(s[1])
		say(no, schema.Join(at, s[0]), err)
	}
	for _, n := range []struct {
		key   string
		value int64
	}{
		{"cpu_shares", k.CPUShares},
		{"service_cpu_shares", k.ServiceCPUShares},
		{"shm_size", k.ShmSize},
		{"network_mtu", int64(k.NetworkMTU)},
	} {
		if n.value < 0 {
			no(schema.Join(at, n.key), "must not be negative, is %d", n.value)
		}
	}
	if k.DiskBudget != "" {
		_, err := ParseBudget(k.DiskBudget)
		say(no, schema.Join(at, "disk_budget"), err)
	}
	if k.VolumeTTL != nil && *k.VolumeTTL < 0 {
		no(schema.Join(at, "volume_ttl"), "must not be negative, is %s; \"0s\" keeps volumes for ever", *k.VolumeTTL)
	}
	if k.PidsLimit < -1 || k.PidsLimit > 0 && k.PidsLimit < leastPids {
		no(schema.Join(at, "pids_limit"), "must be at least %d, or -1 for any number, is %d", leastPids, k.PidsLimit)
	} else if k.Nests() && k.PidsLimit > 0 && k.PidsLimit < leastNestedPids {
		no(schema.Join(at, "pids_limit"), "must be at least %d with nested = %q, or -1 for any number, is %d: a job and its engine have half of it each", leastNestedPids, k.Nested, k.PidsLimit)
	}
	if k.OOMScoreAdjust < -1000 || k.OOMScoreAdjust > 1000 {
		no(schema.Join(at, "oom_score_adjust"), "must be from -1000 to 1000, is %d", k.OOMScoreAdjust)
	}
}

// leastPids is what a job needs of processes and threads to run anything.
const leastPids = 64

// leastNestedPids is what a job needs with an engine of its own: half of it is for Podman, and for a monitor, a network helper and
// the processes of each nested container.
const leastNestedPids = 4 * leastPids

// validateValues checks what is one value.
func (k *Docker) validateValues(no report, at string) {
	_, err := dockeropt.GPUs(k.GPUs)
	say(no, schema.Join(at, "gpus"), err)
	_, err = dockeropt.GPUs(k.ServiceGPUs)
	say(no, schema.Join(at, "service_gpus"), err)
	say(no, schema.Join(at, "log_options"), dockeropt.LogOptions(k.LogOptions))
	say(no, schema.Join(at, "isolation"), dockeropt.Isolation(k.Isolation))
	for _, name := range slices.Sorted(maps.Keys(k.Ulimit)) {
		_, err := dockeropt.Ulimits(map[string]string{name: k.Ulimit[name]})
		say(no, schema.Join(schema.Join(at, "ulimit"), name), err)
	}
	for _, p := range slices.Sorted(maps.Keys(k.Tmpfs)) {
		say(no, schema.Join(schema.Join(at, "tmpfs"), p), dockeropt.Tmpfs(p))
	}
	for _, p := range slices.Sorted(maps.Keys(k.ServicesTmpfs)) {
		say(no, schema.Join(schema.Join(at, "services_tmpfs"), p), dockeropt.Tmpfs(p))
	}
	for _, s := range [][2]string{{"pid_mode", k.PIDMode}, {"ipcmode", k.IPCMode}, {"userns_mode", k.UsernsMode}} {
		if strings.HasSuffix(s[1], ":") || strings.ContainsAny(s[1], " \t\n") {
			no(schema.Join(at, s[0]), "must be a word such as \"host\", or \"container:NAME\", is %q", s[1])
		}
	}
}

// validateLists checks every element of lists.
func (k *Docker) validateLists(no report, at string) {
	each := func(key string, list []string, check func(string) error) {
		for i, s := range list {
			say(no, schema.Element(schema.Join(at, key), i), check(s))
		}
	}
	device := func(s string) error { _, err := dockeropt.Device(s); return err }
	each("devices", k.Devices, device)
	for _, pattern := range slices.Sorted(maps.Keys(k.ServicesDevices)) {
		_, err := dockeropt.DevicesFor("image", map[string][]string{pattern: nil})
		say(no, schema.Join(schema.Join(at, "services_devices"), pattern), err)
		for i, s := range k.ServicesDevices[pattern] {
			say(no, schema.Element(schema.Join(schema.Join(at, "services_devices"), pattern), i), device(s))
		}
	}
	each("allowed_images", k.AllowedImages, dockeropt.Pattern)
	each("allowed_services", k.AllowedServices, dockeropt.Pattern)
	each("allowed_privileged_images", k.AllowedPrivilegedImages, dockeropt.Pattern)
	each("allowed_privileged_services", k.AllowedPrivilegedServices, dockeropt.Pattern)
	each("device_cgroup_rules", k.DeviceCgroupRules, dockeropt.DeviceRule)
	each("volumes_from", k.VolumesFrom, dockeropt.VolumesFrom)
	each("dns", k.DNS, func(s string) error { _, err := dockeropt.DNS(s); return err })
	each("extra_hosts", k.ExtraHosts, func(s string) error { _, err := dockeropt.Host(s); return err })
	each("links", k.Links, func(s string) error { _, _, err := dockeropt.Link(s); return err })
}

func (k *Docker) validateVolumes(no report, at string) {
	first := map[string]string{}
	for i, s := range k.Volumes {
		path := schema.Element(schema.Join(at, "volumes"), i)
		v, err := dockeropt.ParseVolume(s)
		if err == nil && !strings.Contains(v.Path, "$") {
			v.Path, err = v.Place(nil, "/project")
		}
		if err != nil {
			no(path, "%v", err)
			continue
		}
		if other, taken := first[v.Path]; taken {
			no(path, "%q is mounted where %q is already: remove one of them", s, other)
		}
		first[v.Path] = s
	}
}

func (k *Docker) validateNetwork(no report, at string) {
	n, err := dockeropt.NetworkMode(k.NetworkMode)
	say(no, schema.Join(at, "network_mode"), err)
	_, err = dockeropt.MAC(k.MacAddress)
	say(no, schema.Join(at, "mac_address"), err)
	if err != nil || n.Mode == "" || n.Named {
		return
	}
	for _, key := range []struct {
		name string
		set  bool
	}{{"links", len(k.Links) > 0}, {"mac_address", k.MacAddress != ""}} {
		if key.set {
			no(schema.Join(at, key.name), "cannot be had with network_mode = %q: remove one of them", k.NetworkMode)
		}
	}
	if !n.Joined {
		return
	}
	for _, key := range []struct {
		name string
		set  bool
	}{
		{"hostname", k.Hostname != ""}, {"dns", len(k.DNS) > 0}, {"dns_search", len(k.DNSSearch) > 0}, {"extra_hosts", len(k.ExtraHosts) > 0},
	} {
		if key.set {
			no(schema.Join(at, key.name), "belongs to the other container with network_mode = %q: remove one of them", k.NetworkMode)
		}
	}
}
