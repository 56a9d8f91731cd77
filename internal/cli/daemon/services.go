package daemon

import (
	"errors"
	"fmt"
	"math/big"
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
		DNS: d.DNS, DNSSearch: d.DNSSearch, ExtraHosts: d.ExtraHosts,
	}
	if d.ServicesPrivileged != nil {
		l.Privileged = *d.ServicesPrivileged
	}
	var errs [4]error
	l.Memory, errs[0] = size(d.ServiceMemory)
	l.MemorySwap, errs[1] = size(d.ServiceMemorySwap)
	l.MemoryReservation, errs[2] = size(d.ServiceMemoryReservation)
	l.NanoCPUs, errs[3] = billionths("service_cpus", d.ServiceCPUs)
	return l, errors.Join(errs[:]...)
}

// billionths reads a number of CPUs such as "0.5" or "3/4".
func billionths(key, cpus string) (int64, error) {
	if cpus == "" {
		return 0, nil
	}
	r, ok := new(big.Rat).SetString(cpus)
	if !ok {
		return 0, fmt.Errorf("[runners.docker] %s: %q is not a number of CPUs: use one such as \"0.5\" or \"2\"", key, cpus)
	}
	if r.Mul(r, big.NewRat(1e9, 1)); !r.IsInt() || r.Sign() < 0 || !r.Num().IsInt64() {
		return 0, fmt.Errorf("[runners.docker] %s: %q is not a number of CPUs: give at most nine digits behind the point", key, cpus)
	}
	return r.Num().Int64(), nil
}
