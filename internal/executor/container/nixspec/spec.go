// Package nixspec says what the Nix daemon of a trust domain is made of: its container, its volumes and their labels, as an engine is
// told. When it is made, and what becomes of it, is package nixdaemon.
//
// # Volumes
//
//	DOMAIN-store   /nix/store; jobs have it read-only
//	DOMAIN-var     /nix/var/nix: database, profiles, temporary roots; nobody else's
//	DOMAIN-gate    /nix/var/nix/gcroots/skerry: the daemon's socket and the roots that jobs hold; helpers have it read-only
//
// where DOMAIN is the domain's name, which is the container's as well.
//
// They outlive the container: another image, other settings and another runner find the same store.
package nixspec

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"

	"gitlab.com/skerry/skerry/internal/executor/container/carrier"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
	"gitlab.com/skerry/skerry/internal/nixstore/courier"
	"gitlab.com/skerry/skerry/internal/nixstore/nixd"
)

// Sockets in the gate volume.
const (
	Socket = "daemon/socket"         // the daemon's
	Holder = "daemon/" + nixd.Holder // of the hold.Server that makes the roots of jobs
)

// The labels of what belongs to a domain.
const (
	LabelOwner  = "com.gitlab.skerry.owner"
	LabelDomain = "com.gitlab.skerry.nix"        // its name
	LabelSpec   = "com.gitlab.skerry.nix.spec"   // what the container was made of
	LabelHolder = "com.gitlab.skerry.nix.holder" // the container makes the roots of jobs: helpers of today depend on it

	PartDaemon = "nix-daemon" // the value of carrier.LabelPart
	PartSeed   = "nix-seed"
	PartVolume = "nix-volume"
)

// Spec is all that one domain's daemon is made of.
type Spec struct {
	Owner  string `json:"owner"`
	Domain string `json:"domain"`          // its name, see package domain
	For    string `json:"for,omitempty"`   // who shares it, for people
	Scope  string `json:"scope,omitempty"` // of the runner entry whose job needs it
	Image  string `json:"image"`           // any with Nix
	// Labels are added to those of everything that is made. A domain that has some is a single job's.
	Labels   map[string]string `json:"labels,omitempty"`
	Settings nixd.Config       `json:"settings"`
	// Idle is how long the daemon runs on when no job needs it; 0: for ever.
	Idle    time.Duration  `json:"idle,omitempty"`
	Collect Policy         `json:"collect,omitzero"`
	Push    *courier.Route `json:"push,omitempty"` // nil: what jobs build is not pushed
	// Agent says how the agent's program comes into containers, and AgentPath where it is on this machine.
	Agent     carrier.Way `json:"agent"`
	AgentPath string      `json:"agent_path"`
}

// Name is that of the daemon's container.
func (s Spec) Name() string { return s.Domain }

// SeedName is that of the container that fills the domain's store.
func (s Spec) SeedName() string { return s.Name() + "-seed" }

// Volumes are the names of a domain's volumes.
type Volumes struct {
	Store string `json:"store"`
	Var   string `json:"var"`
	Gate  string `json:"gate"`
}

// Volumes returns the names of the domain's volumes.
func (s Spec) Volumes() Volumes {
	return Volumes{Store: s.Name() + "-store", Var: s.Name() + "-var", Gate: s.Name() + "-gate"}
}

// All lists them.
func (v Volumes) All() []string { return []string{v.Store, v.Var, v.Gate} }

// LabelsOf are the labels of one of the things that are made.
func (s Spec) LabelsOf(part string) map[string]string {
	l := map[string]string{LabelOwner: s.Owner, LabelDomain: s.Domain, carrier.LabelPart: part}
	for k, v := range s.Labels {
		l[k] = v
	}
	return l
}

// Auto reports whether builds are to be in the sandbox where that is possible, and otherwise without.
func (s Spec) Auto() bool { return s.Settings.Sandbox == "" || s.Settings.Sandbox == nixd.SandboxAuto }

// Alone reports whether the domain is a single job's.
func (s Spec) Alone() bool { return len(s.Labels) > 0 }

// settings are what the container is told.
func (s Spec) settings(imageID string) (string, error) {
	c := s.Settings
	c.Image = imageID
	if err := c.Validate(); err != nil {
		return "", fmt.Errorf("[runners.nix]: %w", err)
	}
	text, err := json.Marshal(c)
	return string(text), err
}

// Hash tells whether a container is made as the spec says.
func (s Spec) Hash(imageID string) (string, error) {
	settings, err := s.settings(imageID)
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%s", settings, s.Agent.Volume, s.AgentPath))
	return hex.EncodeToString(sum[:8]), err
}

// Daemon is the container that serves.
func (s Spec) Daemon(e *engineapi.Engine, imageID string) (client.ContainerCreateOptions, error) {
	hash, err := s.Hash(imageID)
	if err != nil {
		return client.ContainerCreateOptions{}, err
	}
	settings, err := s.settings(imageID)
	if err != nil {
		return client.ContainerCreateOptions{}, err
	}
	v := s.Volumes()
	o := s.container(s.Name(), PartDaemon, imageID, nixd.CommandDaemon, map[string]string{v.Store: nixd.StoreDir, v.Var: nixd.StateDir, v.Gate: nixd.GateDir})
	o.Config.Labels[LabelSpec], o.Config.Labels[LabelHolder] = hash, nixd.Holder
	o.Config.Env = []string{nixd.Variable + "=" + settings}
	unlimited := int64(-1) // each build has a limit of its own, and the daemon must be able to end it
	o.HostConfig.PidsLimit = &unlimited
	o.HostConfig.LogConfig = container.LogConfig{Type: "json-file", Config: map[string]string{"max-size": "10m"}} // jobs can make it talk
	open(o.HostConfig, e)
	return o, nil
}

// Seed is the container that brings what the image has of a store into the volumes. It has no network: it needs none.
func (s Spec) Seed(imageID string) (client.ContainerCreateOptions, error) {
	settings, err := s.settings(imageID)
	v := s.Volumes()
	o := s.container(s.SeedName(), PartSeed, imageID, nixd.CommandSeed, map[string]string{
		v.Store: nixd.SeedStoreDir, v.Var: nixd.SeedStateDir, v.Gate: nixd.SeedGateDir,
	})
	o.Config.Env = []string{nixd.Variable + "=" + settings}
	o.HostConfig.NetworkMode = "none"
	return o, err
}

func (s Spec) container(name, part, imageID, command string, volumes map[string]string) client.ContainerCreateOptions {
	h := &container.HostConfig{Mounts: []mount.Mount{s.Agent.Mount(s.AgentPath)}}
	for volume, target := range volumes {
		h.Mounts = append(h.Mounts, mount.Mount{
			Type: mount.TypeVolume, Source: volume, Target: target, VolumeOptions: &mount.VolumeOptions{NoCopy: true},
		})
	}
	return client.ContainerCreateOptions{
		Name: name,
		Config: &container.Config{
			Image: imageID, User: "0:0", Entrypoint: []string{carrier.Exe, nixd.Command, command}, Cmd: []string{},
			Labels: s.LabelsOf(part), WorkingDir: "/",
		},
		HostConfig: h,
	}
}

// open lets Nix make its sandbox: namespaces with a /proc of their own, which engines forbid by a filter of system
// calls and by what they cover of /proc. The container stays without privileges.
func open(h *container.HostConfig, e *engineapi.Engine) {
	h.SecurityOpt = []string{"seccomp=unconfined"}
	if e.Kind == engineapi.Podman {
		h.SecurityOpt = append(h.SecurityOpt, "unmask=ALL")
		return
	}
	h.MaskedPaths, h.ReadonlyPaths = []string{}, []string{} // the command line's systempaths=unconfined
}
