package daemon

import (
	"strings"

	"gitlab.com/skerry/skerry/internal/config"
	"gitlab.com/skerry/skerry/internal/executor/container"
	"gitlab.com/skerry/skerry/internal/job"
)

// services are those of the runner's configuration. An environment entry without "=" is left out, as GitLab
// Runner does.
func services(configured []config.Service) []container.ServiceImage {
	var out []container.ServiceImage
	for _, s := range configured {
		i := job.Image{Name: s.Name, Alias: s.Alias, Command: s.Command, Entrypoint: s.Entrypoint}
		for _, entry := range s.Environment {
			if key, value, ok := strings.Cut(entry, "="); ok && key != "" {
				i.Variables = append(i.Variables, job.Variable{Key: key, Value: value, Public: true})
			}
		}
		out = append(out, container.ServiceImage{Image: i})
	}
	return out
}

// serviceLimits is how services are confined. Source: gitlab-runner executors/docker/docker.go,
// createHostConfigForService.
func serviceLimits(d *config.Docker) (container.Limits, error) {
	l := container.Limits{
		CPUShares: d.ServiceCPUShares, CPUSet: d.ServiceCPUSetCPUs, Privileged: d.Privileged, SecurityOpt: d.ServicesSecurityOpt,
		GPUs: d.ServiceGPUs, Runtime: d.Runtime, UsernsMode: d.UsernsMode, ShmSize: d.ShmSize, Tmpfs: d.ServicesTmpfs,
		DNS: d.DNS, DNSSearch: d.DNSSearch, ExtraHosts: d.ExtraHosts, CgroupParent: d.ServiceCgroupParent, ImageDevices: d.ServicesDevices,
	}
	if d.ServicesPrivileged != nil {
		l.Privileged = *d.ServicesPrivileged
	}
	return l, sizes(&l, d.ServiceMemory, d.ServiceMemorySwap, d.ServiceMemoryReservation, d.ServiceCPUs)
}
