package container

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"gitlab.com/skerry/skerry/internal/agent/netslot"
	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
	"gitlab.com/skerry/skerry/internal/job"
)

// defaultServiceWait is how long services may take until they answer.
// Source: gitlab-runner common/consts.go, DefaultWaitForServicesTimeout.
const defaultServiceWait = 30 * time.Second

// How long services are tried to be reached before their containers are looked at again.
const (
	firstReach = time.Second
	nextReach  = 2 * time.Second
)

// lastServiceLines and lastServiceBytes are how much of a service's log is shown when it died or does not answer.
const (
	lastServiceLines = 50
	lastServiceBytes = 64 << 10
)

// awaitServices names the services in the job's hosts file (not every engine has a name server) and
// waits until those that have ports can be reached or have died, which is a warning. ports are the i-th service's.
func (v *environment) awaitServices(ctx context.Context, ports [][]uint16, n needs) error {
	w, err := v.watchServices(ctx, ports)
	if err != nil {
		return err
	}
	reach, err := v.reacher(ctx, n)
	if err != nil {
		return err
	}
	if len(w.pending) > 0 {
		fmt.Fprintf(v.out, "Waiting for services to be up and running (timeout %d seconds)...\n", int(v.serviceWait().Seconds()))
	}
	end := time.Now().Add(v.serviceWait())
	for try := firstReach; ; try = nextReach {
		ask := netslot.Ask{Hosts: w.hosts, Timeout: max(min(try, time.Until(end)), 0)}
		for _, s := range w.pending {
			ask.Reach = append(ask.Reach, netslot.Target{Name: s.Name, Address: s.address, Ports: s.ports})
		}
		answer, err := reach(ctx, ask)
		if err != nil {
			return fmt.Errorf("wait for services: %w", err)
		}
		if answer.Hosts != "" {
			v.log.Warn("The names of a job's services are left to the engine", "error", answer.Hosts)
		}
		w.hosts = nil
		w.pending = slices.DeleteFunc(w.pending, func(s pendingService) bool { return answer.Failed[s.Name] == "" })
		if len(w.pending) == 0 {
			break
		}
		if !time.Now().Before(end) {
			for _, s := range w.pending {
				w.failed(ctx, s.servicePart, "service "+quote(s.Title)+" timeout: "+answer.Failed[s.Name])
			}
			break
		}
		if err := w.look(ctx); err != nil {
			return err
		}
	}
	return w.verdict()
}

// watching is what is known of the services while they come up.
type watching struct {
	v       *environment
	hosts   []string         // lines for the hosts file that are not in it yet
	pending []pendingService // to be reached
	bad     []string         // titles of those that will not be
}

// pendingService is a service that has not been reached yet.
type pendingService struct {
	*servicePart

	address netip.Addr
	ports   []uint16
}

// watchServices looks at the services, which have been started.
func (v *environment) watchServices(ctx context.Context, ports [][]uint16) (*watching, error) {
	w := &watching{v: v}
	states, err := v.serviceStates(ctx, v.engine)
	if err != nil {
		return nil, err
	}
	for i := range v.b.Services {
		s, state := &v.b.Services[i], states[i]
		address := v.serviceAddress(state)
		if address.IsValid() {
			w.hosts = append(w.hosts, address.String()+"\t"+strings.Join(append(slices.Clone(s.Aliases), state.ID[:min(12, len(state.ID))]), " "))
		}
		switch {
		case !state.Running:
			w.failed(ctx, s, ending(s, state))
		case len(ports[i]) > 0 && v.e.o.WaitForServicesSecond >= 0 && address.IsValid():
			w.pending = append(w.pending, pendingService{servicePart: s, address: address, ports: ports[i]})
		}
	}
	return w, nil
}

// serviceAddress is where the job reaches a service; invalid when it cannot.
func (v *environment) serviceAddress(s engineapi.State) netip.Addr {
	switch {
	case v.b.Network == "none" || !s.Running:
		return netip.Addr{}
	case v.b.Network == "host", strings.HasPrefix(v.b.Network, "container:"):
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	a, _ := netip.ParseAddr(s.IP) // none: it has ended meanwhile
	return a
}

// look finds out which of the services that are waited for have died.
func (w *watching) look(ctx context.Context) error {
	var errs []error
	w.pending = slices.DeleteFunc(w.pending, func(s pendingService) bool {
		state, err := serviceState(ctx, w.v.engine, s.servicePart)
		errs = append(errs, err)
		if err == nil && !state.Running {
			w.failed(ctx, s.servicePart, ending(s.servicePart, state))
			return true
		}
		return false
	})
	return errors.Join(errs...)
}

// failed warns of a service that will not be reached.
func (w *watching) failed(ctx context.Context, s *servicePart, why string) {
	w.bad = append(w.bad, s.Title)
	w.v.told.add(s.Name)
	warnService(ctx, w.v.engine, w.v.out, s, "probably didn't start properly.", "Health check error:\n"+why)
}

// verdict is the job's failure where services are required.
func (w *watching) verdict() error {
	if len(w.bad) == 0 || !w.v.e.o.ServicesRequired {
		return nil
	}
	return &executor.Failure{Reason: job.ReasonExternal, Err: fmt.Errorf(
		"services that the job needs did not come up: %s (see above; services_required in [runners.docker] makes that the job's end)", strings.Join(w.bad, ", "))}
}

func (v *environment) serviceWait() time.Duration {
	if n := v.e.o.WaitForServicesSecond; n > 0 {
		return time.Duration(n) * time.Second
	}
	return defaultServiceWait
}

// reacher returns what names and reaches services from where the job is: in its slot, or, on a network that the
// configuration names, in the container of the helper place.
func (v *environment) reacher(ctx context.Context, n needs) (func(context.Context, netslot.Ask) (netslot.Answer, error), error) {
	if v.b.Network == "" {
		return func(ctx context.Context, ask netslot.Ask) (netslot.Answer, error) { return v.pool.Up(ctx, v.slot, ask) }, nil
	}
	if err := n.helper.wait(ctx); err != nil {
		return nil, err
	}
	return func(ctx context.Context, ask netslot.Ask) (netslot.Answer, error) {
		v.hosts = append(v.hosts, ask.Hosts...) // for the build place, which has a hosts file of its own
		return v.up(ctx, v.b.Helper.Name, ask)
	}, nil
}

// up runs the agent's program in a container for an ask.
func (v *environment) up(ctx context.Context, container string, ask netslot.Ask) (a netslot.Answer, err error) {
	raw, err := json.Marshal(ask)
	if err != nil {
		return a, err
	}
	out, err := v.engine.Exec(ctx, container, "0:0", agentExe, netslot.CommandUp, string(raw))
	if err == nil {
		err = json.Unmarshal(out, &a)
	}
	return a, err
}

// nameServices names the services in the build place where that does not share the helper's hosts file.
func (v *environment) nameServices(ctx context.Context) error {
	if len(v.hosts) == 0 {
		return nil
	}
	a, err := v.up(ctx, v.b.Build.Name, netslot.Ask{Hosts: v.hosts})
	if err == nil && a.Hosts != "" {
		v.log.Warn("The names of a job's services are left to the engine", "error", a.Hosts)
	}
	return err
}

func serviceState(ctx context.Context, engine *engineapi.Engine, s *servicePart) (engineapi.State, error) {
	state, err := engine.State(ctx, s.Name)
	if engineapi.IsAbsent(err) {
		return engineapi.State{Error: "somebody removed its container"}, nil
	}
	return state, err
}

// serviceStates are the states of all services, looked up side by side.
func (v *environment) serviceStates(ctx context.Context, engine *engineapi.Engine) ([]engineapi.State, error) {
	states, errs := make([]engineapi.State, len(v.b.Services)), make([]error, len(v.b.Services))
	var all sync.WaitGroup
	for i := range v.b.Services {
		all.Go(func() { states[i], errs[i] = serviceState(ctx, engine, &v.b.Services[i]) })
	}
	all.Wait()
	return states, errors.Join(errs...)
}

// ending says how a service ended.
func ending(s *servicePart, state engineapi.State) string {
	title := "service " + quote(s.Title)
	switch {
	case state.OOMKilled:
		return title + " ran out of memory and was killed" + limitWords(state.Memory)
	case state.Error != "":
		return fmt.Sprintf("%s ended: %s", title, state.Error)
	default:
		return fmt.Sprintf("%s ended with exit code %d", title, state.ExitCode)
	}
}

// warnService warns of a service in GitLab Runner's words, with the last lines that it wrote.
func warnService(ctx context.Context, engine *engineapi.Engine, out io.Writer, s *servicePart, what, more string) {
	said, err := engine.Logs(ctx, s.Name, lastServiceLines, lastServiceBytes)
	if err != nil {
		said = err.Error()
	}
	said = strings.TrimSpace(strings.ToValidUTF8(said, "\ufffd"))
	if said == "" {
		said = "(it wrote nothing)"
	}
	text := fmt.Sprintf("\n%s*** WARNING:%s Service %s %s\n\n%s\n\nService container logs:\n%s\n\n%s*********%s\n\n",
		yellow, plain, s.names(), what, more, said, yellow, plain)
	for line := range strings.Lines(text) {
		_, _ = io.WriteString(out, line) // the log's own trouble is told elsewhere
	}
}

// GitLab Runner's colours.
const (
	yellow = "\x1b[0;33m"
	plain  = "\x1b[0;m"
)

// names is a service as its job's author knows it: "postgres:16 (postgres, db)".
func (s *servicePart) names() string { return s.Title + " (" + strings.Join(s.Aliases, ", ") + ")" }

func quote(s string) string { return fmt.Sprintf("%q", s) }

// told remembers which services have been warned of.
type told struct {
	mu   sync.Mutex
	list map[string]bool
}

func (t *told) add(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.list == nil {
		t.list = map[string]bool{}
	}
	t.list[name] = true
}

func (t *told) has(name string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.list[name]
}
