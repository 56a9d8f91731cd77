// Package slot keeps networks for jobs: each with a small container that holds a network namespace on it,
// which the containers of a job join. Making one takes an engine longer than all the rest of a job, so a
// slot is used again when what it holds has been found to be as it was made. One slot has one job at a time.
package slot

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"gitlab.com/skerry/skerry/internal/agent/netslot"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
)

// Kind is what a slot is made of; slots of one kind are alike.
type Kind struct {
	Owner    string // begins the names and is the value of LabelOwner
	Image    string // of the container that holds the namespace; the engine has it
	AgentDir string // holds the agent's program, mounted at /.skerry/bin
	// AgentVolume is a volume that is mounted in its stead, for an engine on another machine.
	AgentVolume string
	// Doors is a directory of this machine, shared with the engine, beneath which each holder has one to answer in;
	// empty: holders are asked through the engine.
	Doors      string
	MTU        int
	Bits       int // the prefix of its subnet, see Bits; 0 for the usual one
	IPv6       bool
	MAC        string // the six bytes of the network card's address; empty: the engine's choice
	UsernsMode string
	Links      []string // containers that are connected, see dockeropt.Link
	Hostname   string
	DNS        []string
	DNSSearch  []string
	ExtraHosts []string
	Sysctls    map[string]string
}

// The labels of what a slot is made of.
const (
	LabelOwner = "com.gitlab.skerry.owner"
	LabelSlot  = "com.gitlab.skerry.slot" // its name
)

// Slot is one network. Name is that of the network and of the container.
type Slot struct {
	Name    string       `json:"name"`
	Network string       `json:"network"` // the network's id
	Subnet  netip.Prefix `json:"subnet"`  // invalid when the engine does not tell

	since time.Time // when it became idle
}

// Pool makes slots of one kind with one engine, and keeps those that nobody uses. It is safe for
// concurrent use.
type Pool struct {
	engine *engineapi.Engine
	kind   Kind
	log    *slog.Logger

	mu     sync.Mutex
	keep   int // how many unused ones are kept
	idle   []Slot
	made   map[string]bool
	giving sync.WaitGroup
	closed bool

	coming  map[string]bool // slots that are being given back
	waiting int             // those who wait for one
	changed chan struct{}   // closed when they should look again; nil: nobody waits

	idleFor time.Duration
	timer   *time.Timer // of expire
}

// NewPool returns a pool that keeps at most keep slots that nobody uses, and all but one of them for idleFor only.
func NewPool(engine *engineapi.Engine, kind Kind, keep int, idleFor time.Duration, log *slog.Logger) *Pool {
	return &Pool{engine: engine, kind: kind, keep: keep, idleFor: idleFor, log: log, made: map[string]bool{}, coming: map[string]bool{}}
}

// NewName returns the name for a new slot, random.
func NewName(owner string) string {
	b := make([]byte, 4)
	_, _ = rand.Read(b) // never fails, crypto/rand
	return "skerry-" + owner + "-" + hex.EncodeToString(b)
}

// Make makes the slot name, or completes it.
func (p *Pool) Make(ctx context.Context, name string) (Slot, error) {
	p.mu.Lock()
	p.made[name] = true
	p.mu.Unlock()
	labels := map[string]string{LabelOwner: p.kind.Owner, LabelSlot: name}
	o := client.NetworkCreateOptions{Driver: "bridge", Labels: labels}
	if p.kind.IPv6 {
		o.EnableIPv6 = &p.kind.IPv6
	}
	if p.kind.MTU > 0 {
		o.Options = map[string]string{"com.docker.network.driver.mtu": fmt.Sprint(p.kind.MTU)}
	}
	made, err := p.makeNetwork(ctx, name, o)
	if err != nil {
		return Slot{}, err
	}
	s := Slot{Name: name, Network: made.ID, Subnet: made.Subnet}
	if err := p.kind.makeDoor(name); err != nil {
		return s, err
	}
	holder, err := Holder(s, p.kind, labels)
	if err != nil {
		return s, err
	}
	if _, err := p.engine.Create(ctx, holder); err != nil {
		return s, err
	}
	defer guard(ctx, p.engine, joining)()
	return s, p.engine.Start(ctx, name)
}

// Knows reports whether the pool has made the slot name, and it is not removed yet.
func (p *Pool) Knows(name string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.made[name]
}

// remove removes a slot of the pool.
func (p *Pool) remove(ctx context.Context, name string) error {
	err := Remove(ctx, p.engine, name)
	if err == nil {
		err = RemoveDoor(p.kind.Doors, name)
	}
	if err == nil {
		p.mu.Lock()
		delete(p.made, name)
		p.mu.Unlock()
	}
	return err
}

// JobAlias is the name by which services reach the job. Source: gitlab-runner executors/docker, buildContainerType.
const JobAlias = "build"

// Endpoint is a place on a network with names and, if address is valid, an address of its own and a MAC address
// that follows from it: what the namespace of a slot has learnt of an address stays right for the next job.
func Endpoint(address netip.Addr, aliases ...string) *network.EndpointSettings {
	e := &network.EndpointSettings{Aliases: aliases}
	if address.Is4() {
		b := address.As4()
		e.IPAMConfig = &network.EndpointIPAMConfig{IPv4Address: address}
		e.MacAddress = network.HardwareAddr{0x02, 0x42, b[0], b[1], b[2], b[3]}
	}
	return e
}

// Give returns a slot after its job's containers are gone. One that is not to be used again (a job had
// rights over its network, say) or is not as it was made is removed. It returns at once.
func (p *Pool) Give(ctx context.Context, s Slot, again bool) {
	p.giving.Go(func() {
		defer p.Stays(s.Name) // it is here or gone
		if again && p.clean(ctx, s) && p.store(s) {
			return
		}
		if err := p.remove(ctx, s.Name); err != nil {
			p.log.Warn("A job's network could not be removed; it is tried again at the next start", "network", s.Name, "error", err)
		}
	})
}

// lookTime is how long a holder may take to look; the network is removed then.
const lookTime = time.Minute

func (p *Pool) clean(ctx context.Context, s Slot) bool {
	p.mu.Lock()
	full := p.closed || len(p.idle) >= p.keep
	p.mu.Unlock()
	if full {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	out, err := p.ask(ctx, s, netslot.CommandLook, nil)
	var changes []string
	if err == nil {
		err = json.Unmarshal(out, &changes)
	}
	if err != nil || len(changes) > 0 {
		p.log.Debug("A job's network is not used again", "network", s.Name, "changes", changes, "error", err)
		return false
	}
	return true
}

func (p *Pool) store(s Slot) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.idle) >= p.keep {
		return false
	}
	s.since = time.Now()
	p.idle = append(p.idle, s)
	delete(p.coming, s.Name)
	p.tell()
	p.disarm()
	p.arm(s.since)
	return true
}

// Up names services in the slot's namespace and waits until they can be reached.
func (p *Pool) Up(ctx context.Context, s Slot, ask netslot.Ask) (netslot.Answer, error) {
	var a netslot.Answer
	out, err := p.ask(ctx, s, netslot.CommandUp, &ask)
	if err == nil {
		err = json.Unmarshal(out, &a)
	}
	return a, err
}

// Warm makes slots until n are unused.
func (p *Pool) Warm(ctx context.Context, n int) error {
	for {
		p.mu.Lock()
		enough := p.closed || len(p.idle) >= min(n, p.keep)
		p.mu.Unlock()
		if enough {
			return nil
		}
		name := NewName(p.kind.Owner)
		s, err := p.Make(ctx, name)
		if err != nil || !p.store(s) {
			return errors.Join(err, p.remove(context.WithoutCancel(ctx), name))
		}
	}
}

// Close removes the slots that nobody uses and waits for those that are being given back.
func (p *Pool) Close(ctx context.Context) error {
	p.mu.Lock()
	p.closed = true
	p.tell()
	p.disarm()
	idle := p.idle
	p.idle = nil
	p.mu.Unlock()
	p.giving.Wait()
	var errs []error
	for _, s := range idle {
		errs = append(errs, p.remove(ctx, s.Name))
	}
	return errors.Join(errs...)
}

// Remove removes a slot; nothing has to be left of it.
func Remove(ctx context.Context, engine *engineapi.Engine, name string) error {
	release := guard(ctx, engine, leaving)
	err := engine.Remove(ctx, name)
	release()
	if err != nil {
		return err
	}
	return engine.RemoveNetwork(ctx, name)
}

// passing reports whether another subnet or another moment may do: the subnet has been taken meanwhile, or
// Podman has met an interface that was being removed while it looked for free addresses.
func passing(err error) bool {
	words := strings.ToLower(err.Error())
	return slices.ContainsFunc([]string{"overlap", "already used", "conflict", "no such network interface"},
		func(s string) bool { return strings.Contains(words, s) })
}

// makeNetwork makes the network with a small subnet of its own: an engine's pools have few large ones.
func (p *Pool) makeNetwork(ctx context.Context, name string, o client.NetworkCreateOptions) (engineapi.Network, error) {
	var last error
	none := engineapi.Network{}
	for range subnetAttempts {
		taken, err := p.engine.Subnets(ctx)
		if err != nil {
			return none, err
		}
		subnet, ok := free(p.engine.Kind, taken, cmp.Or(p.kind.Bits, bits))
		if !ok {
			break
		}
		o.IPAM = &network.IPAM{Config: []network.IPAMConfig{{Subnet: subnet}}}
		if p.kind.IPv6 {
			o.IPAM.Config = append(o.IPAM.Config, network.IPAMConfig{Subnet: random6()})
		}
		made, err := p.engine.Network(ctx, name, o)
		if err == nil {
			return made, nil
		}
		last = err
		if !passing(err) {
			return none, err
		}
	}
	if last == nil {
		last = errors.New("no subnet is free in " + space)
	}
	return none, fmt.Errorf("make a network for the job: %w", last)
}
