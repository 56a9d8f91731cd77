package daemon

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"

	"gitlab.com/skerry/skerry/internal/config"
	"gitlab.com/skerry/skerry/internal/dockeropt"
	"gitlab.com/skerry/skerry/internal/executor/container"
	"gitlab.com/skerry/skerry/internal/executor/container/disk"
	"gitlab.com/skerry/skerry/internal/executor/container/images"
	"gitlab.com/skerry/skerry/internal/gitlab"
	"gitlab.com/skerry/skerry/internal/nixstore/domain"
	"gitlab.com/skerry/skerry/internal/plan"
)

// Where jobs in containers find things unless the configuration says otherwise. Source: gitlab-runner
// executors/docker/docker.go, DefaultBuildsDir and DefaultCacheDir.
const (
	containerBuilds = "/builds"
	containerCache  = "/cache"
)

// isContainer reports whether an executor's jobs run in containers of an engine.
func isContainer(name string) bool { return name == executorDocker || name == executorPodman }

// containers fills in what an entry of the container executor has that others do not.
func (p place) containers(e *plan.Runner, r *config.Runner) (container.Options, error) {
	e.BuildsDir, e.CacheDir = orElse(r.BuildsDir, containerBuilds), orElse(r.CacheDir, containerCache)
	d := dockerOf(r)
	e.SharedBuilds, e.Mixed = onHost(e.BuildsDir, d.Volumes), true
	address, err := p.engines.address(context.Background(), d)
	if err != nil {
		return container.Options{}, fmt.Errorf("runner %q: %w", r.Name, err)
	}
	zero := 0
	o := container.Options{
		Engine: address, Dir: p.envDir, Agent: p.agent, Scope: scope(r),
		BuildsDir: e.BuildsDir, CacheDir: e.CacheDir,
		Image: d.Image, HelperImage: d.HelperImage, DisableCache: d.DisableCache,
		Volumes: d.Volumes, VolumesFrom: d.VolumesFrom, VolumeKeep: d.VolumeKeep, VolumeDriver: d.VolumeDriver, VolumeDriverOps: d.VolumeDriverOps,
		NetworkMode: d.NetworkMode, NetworkMTU: d.NetworkMTU, EnableIPv6: d.EnableIPv6, MACAddress: d.MacAddress,
		Labels: d.ContainerLabels, LogOptions: d.LogOptions, Umask: &zero, Flags: r.FeatureFlags,
		User: d.User, EntrypointIsKept: d.DisableEntrypointOverwrite,
		WaitForServicesSecond: d.WaitForServicesTimeout, ServicesLimit: d.ServicesLimit, ServicesRequired: d.ServicesRequired,
		Services: services(d.Services),
	}
	if d.CacheDir != "" {
		o.HostCacheDir = p.absolute(d.CacheDir, "")
	}
	o.Rules = images.Rules{
		PullPolicy: d.PullPolicy, AllowedPolicies: d.AllowedPullPolicies, AllowedImages: d.AllowedImages, AllowedServices: d.AllowedServices,
		AllowedUsers: d.AllowedUsers, PrivilegedImages: d.AllowedPrivilegedImages, PrivilegedService: d.AllowedPrivilegedServices,
	}
	var buildErr, serviceErr, ruleErr, diskErr, nixErr, nestedErr error
	o.Nix, nixErr = nix(r)
	if d.Nests() {
		o.Nested, nestedErr = nested(d)
	}
	o.SlotCgroup, o.ServiceSlotCgroup = slotCgroups(r)
	o.Disk, diskErr = diskPolicy(d)
	o.Build, buildErr = buildLimits(d)
	o.Service, serviceErr = serviceLimits(d)
	if bad := o.Rules.Validate(); bad != nil {
		ruleErr = fmt.Errorf("runner %q: [runners.docker] %w", r.Name, bad)
	}
	return o, errors.Join(buildErr, serviceErr, ruleErr, diskErr, nixErr, nestedErr)
}

// nested is what jobs are given for containers of their own.
func nested(d *config.Docker) (*container.Nested, error) {
	n := &container.Nested{Image: d.NestedImage, Asking: d.NestedFor == config.NestedForAsking, Shared: d.Nested == config.NestedShared}
	if d.Nested == config.NestedPodman && d.NestedImages != config.NestedImagesOff {
		n.Images = domain.Trust(d.NestedImages)
	}
	b, err := config.ParseNestedDisk(d.NestedDisk)
	if err != nil {
		return nil, fmt.Errorf("nested_disk: %w", err)
	}
	n.Disk.Bytes, n.Disk.Percent = b.Bytes, b.Percent
	return n, nil
}

// slotCgroups are the control groups below which the containers of a job and those of its services are, with ${slot} for the
// job's place among those of the runner; "" is what cgroup_parent and service_cgroup_parent say.
func slotCgroups(r *config.Runner) (jobs, services string) {
	if !r.UseSlotCgroups {
		return "", ""
	}
	jobs = orElse(r.SlotCgroupTemplate, config.DefaultSlotCgroup)
	return jobs, orElse(dockerOf(r).ServiceSlotCgroupTemplate, jobs)
}

// scope names the runner entry in what its jobs use again. A token that is rotated leaves the runner the same one: its
// number in GitLab counts, where the configuration has it.
func scope(r *config.Runner) string {
	who := r.Token
	if r.ID != 0 {
		who = strconv.FormatInt(r.ID, 10)
	}
	sum := sha256.Sum256([]byte(r.URL + "\x00" + who))
	return hex.EncodeToString(sum[:4])
}

// onHost reports whether dir lies in a directory of the host or a volume with a name, which all jobs share.
func onHost(dir string, volumes []string) bool {
	for _, text := range volumes {
		if v, err := dockeropt.ParseVolume(text); err == nil && v.Source != "" && dockeropt.Within(path.Clean(dir), path.Clean(v.Path)) {
			return true
		}
	}
	return false
}

// defaultVolumeTTL is how long the volumes of a project that has no jobs any more are kept.
const defaultVolumeTTL = 90 * 24 * time.Hour

func diskPolicy(d *config.Docker) (disk.Policy, error) {
	p := disk.Policy{VolumeTTL: defaultVolumeTTL}
	if d.VolumeTTL != nil {
		p.VolumeTTL = *d.VolumeTTL
	}
	if d.DiskBudget == "" {
		return p, nil
	}
	b, err := config.ParseBudget(d.DiskBudget)
	if err != nil {
		return p, fmt.Errorf("disk_budget: %w", err)
	}
	p.Bytes, p.Percent = b.Bytes, b.Percent
	return p, nil
}

func buildLimits(d *config.Docker) (container.Limits, error) {
	l := container.Limits{
		CPUShares: d.CPUShares, CPUSet: d.CPUSetCPUs, CPUSetMems: d.CPUSetMems, CgroupParent: d.CgroupParent,
		Privileged: d.Privileged, CapAdd: d.CapAdd, CapDrop: d.CapDrop, SecurityOpt: d.SecurityOpt,
		Devices: d.Devices, DeviceRules: d.DeviceCgroupRules, GPUs: d.GPUs, Runtime: d.Runtime, UsernsMode: d.UsernsMode,
		PIDMode: d.PIDMode, IPCMode: d.IPCMode, ShmSize: d.ShmSize, Tmpfs: d.Tmpfs, Sysctls: d.Sysctls, Ulimit: d.Ulimit,
		DNS: d.DNS, DNSSearch: d.DNSSearch, ExtraHosts: d.ExtraHosts, Hostname: d.Hostname, GroupAdd: d.GroupAdd, Links: d.Links,
		OOMKillDisable: d.OOMKillDisable, OOMScoreAdjust: d.OOMScoreAdjust, Pids: d.PidsLimit,
	}
	return l, sizes(&l, d.Memory, d.MemorySwap, d.MemoryReservation, d.CPUs)
}

// sizes fills in what the configuration has as text.
func sizes(l *container.Limits, memory, swap, reservation, cpus string) error {
	var errs [4]error
	l.Memory, errs[0] = size(memory)
	l.MemorySwap, errs[1] = size(swap)
	l.MemoryReservation, errs[2] = size(reservation)
	l.NanoCPUs, errs[3] = dockeropt.CPUs(cpus)
	return errors.Join(errs[:]...)
}

// size reads a size of the configuration, which has been checked; "-1" is no limit.
func size(s string) (int64, error) {
	switch strings.TrimSpace(s) {
	case "":
		return 0, nil
	case "-1":
		return -1, nil
	default:
		return config.ParseSize(s)
	}
}

// closeWithin is how long networks of containers may take to be removed when the runner ends.
const closeWithin = 20 * time.Second

func orElse(s, def string) string {
	if s == "" {
		return def
	}
	return s
}

// engineRunners are the entries whose jobs run in containers.
func (d *Daemon) engineRunners() []*config.Runner {
	d.mu.Lock()
	defer d.mu.Unlock()
	var runners []*config.Runner
	for _, r := range d.runners {
		if isContainer(r.config.Executor) {
			runners = append(runners, r.config)
		}
	}
	return runners
}

func features(name string, session bool) gitlab.ExecutorFeatures {
	return gitlab.ExecutorFeatures{Shared: name == executorShell, Containers: isContainer(name), Session: session}
}
