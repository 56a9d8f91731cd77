package container

import (
	"context"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"gitlab.com/skerry/skerry/internal/agent/netslot"
	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/job"
)

// defaultServiceWait is how long services may take until they answer.
// Source: gitlab-runner common/consts.go, DefaultWaitForServicesTimeout.
const defaultServiceWait = 30 * time.Second

// lastServiceLines is how much of a service's log is shown when it died or does not answer.
const lastServiceLines = 30

// drawServices plans the services of the runner and of the job.
func (e *Executor) drawServices(ref executor.Ref, j *job.Job) ([]servicePart, []string) {
	var all []job.Image
	for _, s := range e.o.Services {
		all = append(all, s.Image)
	}
	var parts []servicePart
	var warnings []string
	taken := map[string]bool{}
	for i, s := range append(all, j.Services...) {
		p := servicePart{Command: s.Command}
		for _, alias := range aliases(s.Name, s.Alias) {
			if taken[alias] {
				warnings = append(warnings, fmt.Sprintf("Skipping alias %q for service %q (services[%d]): alias is already in use by another service.", alias, s.Name, i))
				continue
			}
			taken[alias] = true
			p.Aliases = append(p.Aliases, alias)
		}
		vars := append(slices.Clone(j.Variables), s.Variables...).Expand(func(string) string { return "" })
		for _, v := range vars.Dedup() {
			if !v.File {
				p.Env = append(p.Env, v.Key+"="+v.Value)
			}
			if v.Key == "HEALTHCHECK_TCP_PORT" {
				if port, err := strconv.ParseUint(v.Value, 10, 16); err == nil {
					p.Port = uint16(port)
				}
			}
		}
		name := "service-" + strconv.Itoa(i)
		p.part = part{
			Name: containerName(ref, name), Image: s.Name, Policies: s.PullPolicies, Platform: s.Platform, User: s.User,
			Entrypoint: s.Entrypoint, Labels: labels(ref, j, "service", e.o.Labels),
		}
		parts = append(parts, p)
	}
	return parts, warnings
}

// port matches a registry's port in an image's name.
var port = regexp.MustCompile(`^([^/]*?)(:[0-9]+)(/.*)$`) //nolint:gochecknoglobals // compiled once

// aliases are the host names of a service: what GitLab makes of the image's name, with the registry's port and
// the version left out, and those that the job gives. Source: GitLab's documentation, "Accessing the services".
func aliases(image, given string) []string {
	name, _, _ := strings.Cut(image, "@")
	if m := port.FindStringSubmatch(name); m != nil {
		name = m[1] + m[3]
	}
	if slash := strings.LastIndexByte(name, '/'); strings.Contains(name[slash+1:], ":") {
		name = name[:strings.LastIndexByte(name, ':')]
	}
	var out []string
	add := func(s string) {
		if s != "" && !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	add(strings.ReplaceAll(name, "/", "__"))
	add(strings.ReplaceAll(name, "/", "-"))
	for _, s := range strings.FieldsFunc(given, func(r rune) bool { return r == ' ' || r == ',' }) {
		add(s)
	}
	return out
}

// makeServices starts all services and waits until they answer. One that does not is a warning.
func (v *environment) makeServices(ctx context.Context, network *step) error {
	if len(v.b.Services) == 0 {
		return nil
	}
	var all sync.WaitGroup
	errs := make([]error, len(v.b.Services))
	for i := range v.b.Services {
		all.Go(func() { errs[i] = v.makeService(ctx, &v.b.Services[i], network) })
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return v.awaitServices(ctx)
}

func (v *environment) makeService(ctx context.Context, s *servicePart, needs *step) error {
	image, err := v.image(ctx, &s.part)
	if err != nil {
		return err
	}
	if err := needs.wait(ctx); err != nil {
		return err
	}
	if s.Port == 0 {
		s.Ports = tcpPorts(image.Ports)
	} else {
		s.Ports = []uint16{s.Port}
	}
	c := &container.Config{Image: s.Image, User: s.User, Env: s.Env, Cmd: s.Command, Entrypoint: s.Entrypoint, Labels: s.Labels}
	h := &container.HostConfig{NetworkMode: container.NetworkMode(v.slot.Network)}
	v.e.o.Service.apply(c, h)
	o := client.ContainerCreateOptions{
		Name: s.Name, Config: c, HostConfig: h,
		NetworkingConfig: &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{v.slot.Network: {Aliases: s.Aliases}}},
	}
	ctx, cancel := whole(ctx)
	defer cancel()
	if _, err := v.engine.Create(ctx, o); err != nil {
		return err
	}
	return v.engine.Start(ctx, s.Name)
}

// awaitServices names the services in the job's hosts file (not every engine has a name server) and
// waits for those that have ports.
func (v *environment) awaitServices(ctx context.Context) error {
	ask := netslot.Ask{Timeout: defaultServiceWait}
	if n := v.e.o.WaitForServicesSecond; n > 0 {
		ask.Timeout = time.Duration(n) * time.Second
	}
	var dead []*servicePart
	for i := range v.b.Services {
		s := &v.b.Services[i]
		state, err := v.engine.State(ctx, s.Name)
		if err != nil {
			return err
		}
		address, err := netip.ParseAddr(state.IP)
		if err != nil || !state.Running {
			dead = append(dead, s)
			continue
		}
		ask.Hosts = append(ask.Hosts, state.IP+"\t"+strings.Join(append(slices.Clone(s.Aliases), state.ID[:12]), " "))
		if len(s.Ports) > 0 && v.e.o.WaitForServicesSecond >= 0 {
			ask.Reach = append(ask.Reach, netslot.Target{Name: s.Name, Address: address, Ports: s.Ports})
		}
	}
	if len(ask.Reach) > 0 {
		fmt.Fprintf(v.out, "Waiting for services to be up and running (timeout %d seconds)...\n", int(ask.Timeout.Seconds()))
	}
	answer, err := v.pool.Up(ctx, v.slot, ask)
	if err != nil {
		return fmt.Errorf("wait for services: %w", err)
	}
	if answer.Hosts != "" {
		v.log.Warn("The names of a job's services are left to the engine", "error", answer.Hosts)
	}
	for _, s := range dead {
		v.warnService(ctx, s, "it ended at once")
	}
	for i := range v.b.Services {
		if why := answer.Failed[v.b.Services[i].Name]; why != "" {
			v.warnService(ctx, &v.b.Services[i], why)
		}
	}
	return nil
}

func (v *environment) warnService(ctx context.Context, s *servicePart, why string) {
	fmt.Fprintf(v.out, "\x1b[0;33mWARNING:\x1b[0;m Service %s (%s) probably didn't start properly: %s\n", s.Name, s.Image, why)
	said, err := v.engine.Logs(ctx, s.Name, lastServiceLines, 16<<10)
	if err != nil {
		said = err.Error()
	}
	fmt.Fprintf(v.out, "Service container logs:\n%s\n", strings.TrimRight(said, "\n"))
}

// tcpPorts are the numbers of exposed ports such as "6379/tcp", sorted.
func tcpPorts(exposed []string) []uint16 {
	var out []uint16
	for _, p := range exposed {
		number, protocol, _ := strings.Cut(p, "/")
		if n, err := strconv.ParseUint(number, 10, 16); err == nil && (protocol == "" || protocol == "tcp") {
			out = append(out, uint16(n))
		}
	}
	slices.Sort(out)
	return out
}
