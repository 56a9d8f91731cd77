package container

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"time"

	"github.com/moby/moby/api/types/mount"

	"gitlab.com/skerry/skerry/internal/agent"
	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/container/images"
	"gitlab.com/skerry/skerry/internal/executor/container/nixdaemon"
	"gitlab.com/skerry/skerry/internal/executor/container/nixspec"
	"gitlab.com/skerry/skerry/internal/job"
	"gitlab.com/skerry/skerry/internal/nixstore/domain"
	"gitlab.com/skerry/skerry/internal/nixstore/gateway"
	"gitlab.com/skerry/skerry/internal/nixstore/nixd"
	"gitlab.com/skerry/skerry/internal/nixstore/nixjob"
)

// Nix is what jobs are given of a Nix store.
type Nix struct {
	Host  bool         `json:"host,omitempty"` // the machine's own store and daemon, none is made
	Trust domain.Trust `json:"trust,omitempty"`
	Image string       `json:"image,omitempty"` // of the daemon
	Path  bool         `json:"path,omitempty"`  // Nix of the store is first in PATH

	Collect nixdaemon.Policy `json:"collect,omitzero"` // what of a store is collected, and when

	// Push says where what jobs build is pushed to, nil: nowhere; from domains of protected refs alone, or with PushAll from
	// all but those of single jobs, which go too soon.
	Push    *nixdaemon.Push `json:"push,omitempty"`
	PushAll bool            `json:"push_all,omitempty"`

	Daemon    nixd.Config   `json:"daemon"`
	Protected *nixd.Config  `json:"protected,omitempty"` // the same for domains of protected refs alone; nil: no difference
	Idle      time.Duration `json:"idle,omitempty"`      // how long a daemon runs on without jobs; 0: for ever

	// Of the machine's own Nix: the daemon's socket, the directory that jobs see as /nix/store (empty: that one), and where
	// its programs are looked for (nil: the usual places).
	// With Closure jobs see only those paths of the machine's store that they know.
	Closure      bool     `json:"closure,omitempty"`
	HostSocket   string   `json:"host_socket,omitempty"`
	HostStore    string   `json:"host_store,omitempty"`
	HostPrograms []string `json:"host_programs,omitempty"`
}

// nixPart is what a blueprint says of Nix.
type nixPart struct {
	Host      bool   `json:"host,omitempty"`
	Closure   bool   `json:"closure,omitempty"`
	Domain    string `json:"domain,omitempty"`
	For       string `json:"for,omitempty"`       // who shares it, for people
	Image     string `json:"image,omitempty"`     // of its daemon
	Protected bool   `json:"protected,omitempty"` // the domain has jobs of protected refs alone
	// Gate is the volume in which the helper's agent listens for the job, where the engine shares no directories.
	Gate string `json:"gate,omitempty"`
	// What the store offers, once that is known.
	Offer *nixdaemon.Offer `json:"offer,omitempty"`
}

// Where the places have what belongs to Nix.
const (
	nixDir    = "nix"                        // in the helper's state: there its agent listens for the job
	nixGate   = agentState + "/" + nixDir    //
	nixSocket = "/nix/var/nix/daemon-socket" // the same for the job
	nixDaemon = "/.skerry/nix"               // what the helper has of the domain, or of the machine's daemon
	nixWhole  = "/.skerry/nix-store"         // the machine's store, where the helper shows the job a part of it
	nixView   = "nix-store"                  // in the helper's state: that part
)

// nixWait is how long what a job asks waits for a daemon that is being made or started again: on a machine that has much to do that
// takes many times as long as usual. The machine's own daemon is waited for as long as the gateway does by itself.
const nixWait = 2 * time.Minute

// An image with this label and value asks for Nix in PATH.
const (
	labelNix  = "com.gitlab.skerry.nix"
	nixInPath = "path"
)

// drawNix plans what the job has of Nix.
func (e *Executor) drawNix(b *blueprint, j *job.Job) error {
	n := e.o.Nix
	if n == nil {
		return nil
	}
	b.Nix = &nixPart{Host: n.Host, Closure: n.Host && n.Closure}
	if n.Host {
		b.drawHostNix(n)
		return nil
	}
	d, err := domain.Of(n.Trust, domain.Subject{
		Owner: string(b.Ref.Owner), Scope: e.o.Scope, Project: j.ProjectID, Protected: j.Git.Protected, Ref: b.Ref.ID,
	})
	if err != nil {
		return fmt.Errorf("trust in [runners.nix]: %w", err)
	}
	b.Nix.Domain, b.Nix.For, b.Nix.Image, b.Nix.Protected = d.Name, d.String(), n.Image, d.Protected
	return nil
}

// nixSpec is the domain's daemon.
func (v *environment) nixSpec() nixdaemon.Spec {
	n := v.e.o.Nix
	s := nixdaemon.Spec{
		Owner: string(v.b.Ref.Owner), Domain: v.b.Nix.Domain, For: v.b.Nix.For, Scope: v.e.o.Scope, Image: n.Image, Settings: n.Daemon,
		Idle: n.Idle, Collect: n.Collect, Agent: *v.b.Agent, AgentPath: v.e.o.Agent,
	}
	if n.Protected != nil && v.b.Nix.Protected {
		s.Settings = *n.Protected
	}
	if n.PushAll || v.b.Nix.Protected {
		s.Push = n.Push
	}
	if n.Trust == domain.Job { // it goes with the job
		s.Collect, s.Push = nixdaemon.Policy{}, nil
		s.Labels = map[string]string{labelRef: v.b.Ref.String()}
	}
	return s
}

// makeNixVolumes makes the volumes that places have for Nix. The places need them and not the daemon: the gateway waits
// for that.
func (v *environment) makeNixVolumes(ctx context.Context, way *step) error {
	if v.b.Nix == nil {
		return nil
	}
	if err := way.wait(ctx); err != nil {
		return err
	}
	if v.b.Nix.Host {
		if err := v.checkHostNix(); err != nil {
			return err
		}
	}
	ctx, cancel := whole(ctx)
	defer cancel()
	if v.b.Agent.Volume != "" && v.b.Nix.Gate == "" {
		if err := v.b.note(v.dir, func() { v.b.Nix.Gate = containerName(v.b.Ref, "nix") }); err != nil {
			return err
		}
	}
	if err := v.makeNixGate(ctx); err != nil {
		return err
	}
	if v.b.Nix.Host {
		return nil
	}
	v.useNix()
	return v.nix().Volumes(ctx, v.nixSpec())
}

// makeNixGate makes the directory or the volume in which the helper's agent listens for the job. Both places have it
// mounted, and either may be first.
func (v *environment) makeNixGate(ctx context.Context) error {
	if v.b.Nix.Gate != "" {
		return v.engine.Volume(ctx, v.b.Nix.Gate, ownLabels(v.b.Ref, partVolume))
	}
	helper := filepath.Join(v.dir, string(executor.Helper))
	dirs := []string{helper, filepath.Join(helper, nixDir)}
	if v.b.Nix.Closure {
		dirs = append(dirs, filepath.Join(helper, nixView))
	}
	return openDirs(dirs...)
}

// useNix keeps the domain's daemon from being stopped until the environment is closed.
func (v *environment) useNix() {
	if v.b.Nix != nil && !v.b.Nix.Host {
		v.nixDone = v.nix().Use(v.nixSpec())
	}
}

// makeNix sees to the domain's daemon, and finds out what its store offers.
func (v *environment) makeNix(ctx context.Context, volumes *step) error {
	if v.b.Nix == nil {
		return nil
	}
	if v.b.Nix.Host {
		return volumes.wait(ctx)
	}
	image, err := v.nixImage(ctx)
	if err != nil {
		return err
	}
	if err := volumes.wait(ctx); err != nil {
		return err
	}
	offer, err := v.nix().Ensure(ctx, v.nixSpec(), image)
	if err != nil {
		return fmt.Errorf("the Nix store of this job: %w", err)
	}
	v.warnOfNix(ctx)
	return v.b.note(v.dir, func() { v.b.Nix.Offer = &offer })
}

func (v *environment) nix() *nixdaemon.Keeper { return v.e.nixKeeper() }

// closeNix gives up what the job had of its domain, and a domain that was this job's alone.
func (v *environment) closeNix(ctx context.Context) error {
	if v.b.Nix == nil {
		return nil
	}
	if v.nixDone != nil {
		v.nixDone()
	}
	if !v.b.Nix.Host {
		v.nix().Over(v.b.Nix.Domain, v.b.Ref.ID)
	}
	var errs []error
	if v.b.Nix.Gate != "" {
		errs = append(errs, v.engine.RemoveVolume(ctx, v.b.Nix.Gate))
	}
	if !v.b.Nix.Host && v.e.o.Nix != nil && v.e.o.Nix.Trust == domain.Job && v.b.Agent != nil {
		errs = append(errs, v.nix().Drop(ctx, v.nixSpec()))
	}
	return errors.Join(errs...)
}

// nixImage finds the daemon's image, or pulls it.
func (v *environment) nixImage(ctx context.Context) (string, error) {
	if err := v.reached.wait(ctx); err != nil {
		return "", err
	}
	puller, err := v.e.host.puller(v.e.o.Dir)
	if err != nil {
		return "", err
	}
	space := v.e.space(v.b.Ref.Owner)
	space.Wait(ctx, v.e.o.Nix.Image)
	i, err := puller.Get(ctx, v.engine, images.Request{
		Name: v.e.o.Nix.Image, Policies: []string{images.IfNotPresent}, Log: io.Discard, Access: images.Access{Holder: "the runner"}, Pulling: space.Pull,
	})
	if err != nil {
		return "", fmt.Errorf("the image of the Nix daemon, %s (`image` in [runners.nix]; `skerry image build nix-daemon` makes one): %w", v.e.o.Nix.Image, err)
	}
	space.Need(i.ID)
	return i.ID, nil
}

// nixMounts are what a place has mounted for Nix.
func (v *environment) nixMounts(place executor.Place) []mount.Mount {
	n := v.b.Nix
	if n == nil || place != executor.Build && place != executor.Helper {
		return nil
	}
	volume := func(name, target string, readOnly bool) mount.Mount {
		return mount.Mount{Type: mount.TypeVolume, Source: name, Target: target, ReadOnly: readOnly, VolumeOptions: &mount.VolumeOptions{NoCopy: true}}
	}
	var mounts []mount.Mount
	if place == executor.Helper {
		if n.Gate != "" {
			mounts = append(mounts, volume(n.Gate, nixGate, false))
		} else {
			mounts = append(mounts, v.shown(nixDir))
		}
		if n.Host {
			return append(mounts, v.hostHelper()...)
		}
		return append(mounts, volume(v.nixVolumes().Gate, nixDaemon, true)) // hooks of the job run here, too
	}
	gate := mount.Mount{Type: mount.TypeBind, Source: filepath.Join(v.dir, string(executor.Helper), nixDir), Target: nixSocket, ReadOnly: true}
	if n.Gate != "" {
		gate = volume(n.Gate, nixSocket, true)
	}
	mounts = append(mounts, gate)
	if n.Host {
		return append(mounts, v.hostView())
	}
	return append(mounts, volume(v.nixVolumes().Store, nixd.StoreDir, true))
}

// shown is a directory of the helper's state that the job has mounted from this machine, mounted in the helper once more: it cannot
// be replaced there. A hook may run before the job's container is made, and would choose with a link what of the machine that gets.
func (v *environment) shown(name string) mount.Mount {
	return mount.Mount{Type: mount.TypeBind, Source: filepath.Join(v.dir, string(executor.Helper), name), Target: agentState + "/" + name}
}

func (v *environment) nixVolumes() nixspec.Volumes {
	return nixdaemon.Spec{Owner: string(v.b.Ref.Owner), Domain: v.b.Nix.Domain}.Volumes()
}

// nixConfig tells a place's agent what it has to do about Nix.
func (v *environment) nixConfig(c *agent.Config, place executor.Place) {
	n := v.b.Nix
	if n == nil {
		return
	}
	if place == executor.Helper {
		c.Confined = true
		c.Nix = &gateway.Config{
			Listen: nixGate + "/socket", Upstream: path.Join(nixDaemon, nixspec.Socket), Holder: path.Join(nixDaemon, nixspec.Holder), Job: v.b.Ref.ID, Wait: nixWait,
		}
		if n.Host {
			c.Nix.Upstream, c.Nix.Holder, c.Nix.Unprivileged, c.Nix.Wait = path.Join(nixDaemon, filepath.Base(v.e.o.Nix.HostSocket)), "", true, 0
			if v.e.o.Nix.Path && n.Offer != nil {
				c.Nix.Known = []string{n.Offer.Tools, n.Offer.Certs}
			}
			if n.Closure {
				c.Nix.View, c.Nix.Store = agentState+"/"+nixView, nixWhole
			}
		}
		return
	}
	c.NixJob = &nixjob.Config{Remote: "daemon", Path: v.e.o.Nix.Path || v.labelled}
	if n.Offer != nil {
		c.NixJob.Tools, c.NixJob.Certs = n.Offer.Tools, n.Offer.Certs
	}
}
