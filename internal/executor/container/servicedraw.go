package container

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/job"
)

// healthPort is the variable of a service that names the port to be reached before the job begins.
const healthPort = "HEALTHCHECK_TCP_PORT"

// drawServices plans the services of the runner and of the job, and says what the job's author should know.
// The rules for names are GitLab Runner's: the first service to have an alias keeps it, and one to
// which none is left is not started. Source: gitlab-runner executors/docker/services.go.
func (e *Executor) drawServices(ref executor.Ref, j *job.Job) (parts []servicePart, warnings []string, err error) {
	var all []job.Image
	for _, s := range e.o.Services {
		s.Name, s.Alias = j.Variables.ExpandString(s.Name, filePaths(j)), j.Variables.ExpandString(s.Alias, filePaths(j))
		all = append(all, s.Image)
	}
	all = append(all, j.Services...)
	if limit := e.o.ServicesLimit; limit != nil && *limit >= 0 && len(all) > *limit {
		return nil, nil, misconfigured("too many services requested: %d, only %d allowed", len(all), *limit)
	}
	taken := map[string]int{}
	for i, s := range all {
		name := parseServiceName(s.Name)
		if name.Service == "" {
			return nil, nil, misconfigured("invalid service image name: %s", s.Name)
		}
		p := servicePart{Title: name.String(), Command: s.Command}
		for _, alias := range append(name.Aliases, givenAliases(s.Alias)...) {
			owner, there := taken[alias]
			switch {
			case !there:
				taken[alias] = i
				p.Aliases = append(p.Aliases, alias)
			case owner != i:
				warnings = append(warnings, fmt.Sprintf("Skipping alias %q for service %q (services[%d]): alias is already in use by another service.", alias, s.Name, i))
			}
		}
		if len(p.Aliases) == 0 {
			continue
		}
		if len(s.Entrypoint) > 0 && e.o.EntrypointIsKept {
			warnings = append(warnings, "Entrypoint override disabled")
			s.Entrypoint = nil
		}
		p.part = part{
			Name: containerName(ref, "service-"+strconv.Itoa(i)), Image: s.Name, Policies: s.PullPolicies,
			Platform: j.Variables.ExpandString(s.Platform, filePaths(j)), User: j.Variables.ExpandString(s.User, filePaths(j)),
			Entrypoint: s.Entrypoint, Labels: labels(ref, j, "service", e.o.Labels),
		}
		p.Labels[gitlabLabel+"service"], p.Labels[gitlabLabel+"service.version"] = name.Service, name.Version
		if err := p.environment(j, s); err != nil {
			return nil, nil, err
		}
		parts = append(parts, p)
	}
	return parts, warnings, nil
}

// environment is what a service sees: the job's variables that may be shown, and its own, which may refer
// to all of the job's. Source: gitlab-runner common/build.go, GetServiceVariables.
func (p *servicePart) environment(j *job.Job, s job.Image) error {
	source := append(slices.Clone(j.Variables), s.Variables...)
	vars := append(j.Variables.Public(), s.Variables.ExpandWith(source, filePaths(j))...)
	p.Env = environ(j, vars)
	_, err := p.health(nil)
	return err
}

// health is the port that HEALTHCHECK_TCP_PORT names, in the service's variables or those of its image; 0: none.
func (p *servicePart) health(image []string) (uint16, error) {
	value, found := "", false
	for _, env := range [][]string{image, p.Env} { // the later wins
		for _, v := range env {
			if key, val, _ := strings.Cut(v, "="); strings.EqualFold(key, healthPort) {
				value, found = val, true
			}
		}
	}
	if !found {
		return 0, nil
	}
	port, err := strconv.ParseUint(strings.TrimSpace(value), 10, 16)
	if err != nil || port == 0 {
		return 0, misconfigured("service %q: %s is %q, which is not a port: use a number from 1 to 65535", p.Title, healthPort, value)
	}
	return uint16(port), nil
}

// filePaths says where the job finds the content of its file variables.
func filePaths(j *job.Job) job.FilePath {
	dir := variable(j, "RUNNER_TEMP_PROJECT_DIR")
	return func(key string) string { return dir + "/" + key }
}

// misconfigured is a failure that the job's author or the runner's owner can mend.
func misconfigured(format string, args ...any) error {
	return &executor.Failure{Reason: job.ReasonConfiguration, Err: fmt.Errorf(format, args...)}
}
