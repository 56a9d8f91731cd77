// Package carrier brings the agent's program into the containers of an engine: by a mount of this machine's
// directory where the engine is proved to share those, else by a volume with the agent in it.
package carrier

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"

	"gitlab.com/skerry/skerry/internal/agent/embedded"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
)

// Where the agent is in a container.
const (
	Bin   = "/.skerry/bin"
	State = "/.skerry/state"
	Exe   = Bin + "/agent"
)

// LabelPart says what a thing is for; that of a volume with an agent has the value PartAgent. All
// runners of an engine share those, so no owner is named.
const (
	LabelPart = "com.gitlab.skerry.part"
	PartAgent = "agent"
	PartProbe = "probe" // a container that finds out whether the engine is local
)

// Job is on whose behalf something is brought.
type Job struct {
	Agent  string            // this machine's, alone in its directory
	Dir    string            // for probes; only the runner's user may enter it
	Image  string            // which the engine has; nothing of it is run
	Labels map[string]string // of the containers that are made for a moment
	// Beside are files that the volume has beside the agent; nil: none. They are the same for all jobs of an engine.
	Beside func() ([]Entry, error)
	Probe  map[string]string // the same of a probe, which is on behalf of all jobs
}

// Way is how the agent comes into the containers of an environment, and how it is reached there.
type Way struct {
	// Volume holds the agent where the engine shares no directories with the runner: then the agent's state is
	// in the container, and it is reached through the engine. Empty: both are mounted from this machine.
	Volume string `json:"volume,omitempty"`
}

// Carrier brings the agent into the containers of one engine. The zero value is ready. It is safe for
// concurrent use.
type Carrier struct {
	removing sync.WaitGroup
	proving  turn // has one job find out whether the engine is local
	filling  turn

	mu     sync.Mutex // held for moments only
	proved bool       // local is known
	local  bool
	filled map[string]bool // volumes that this process has seen to hold the agent
	carts  map[string]cart // by the path of this machine's agent

	probes sync.Map // names of containers
}

// Probing reports whether a container is a probe of this process that may still be at work.
func (c *Carrier) Probing(name string) bool {
	_, ok := c.probes.Load(name)
	return ok
}

// Wait waits for what is removed in the background.
func (c *Carrier) Wait() { c.removing.Wait() }

// cart is the agent's program for an engine.
type cart struct {
	volume  string
	program []byte
	beside  []Entry
}

// Choose finds out which way the agent comes into the engine's containers; the first time it makes one. Others who ask meanwhile wait
// for that, each until its own context ends. The error is then the context's cause, and nothing is taken for proved.
func (c *Carrier) Choose(ctx context.Context, e *engineapi.Engine, j Job, log *slog.Logger) (Way, error) {
	local, err := c.isLocal(ctx, func() (why, err error) {
		if why, err = c.prove(ctx, e, j); why != nil && err == nil {
			log.Info("The container engine shares no directories with this runner: the agent comes by a volume and is reached through the engine",
				"engine", e.String(), "because", why)
		}
		return why, err
	})
	if err != nil || local {
		return Way{}, err
	}
	return c.Remote(e, j)
}

// Remote is Choose for an engine that is taken for one that shares no directories.
func (c *Carrier) Remote(e *engineapi.Engine, j Job) (Way, error) {
	t, err := c.loaded(e, j)
	return Way{Volume: t.volume}, err
}

func (c *Carrier) loaded(e *engineapi.Engine, j Job) (cart, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cart(e, j)
}

// cart reads the agent for the engine's architecture.
func (c *Carrier) cart(e *engineapi.Engine, j Job) (cart, error) {
	agent := j.Agent
	if t, ok := c.carts[agent]; ok {
		return t, nil
	}
	var program []byte
	var err error
	if e.Arch == runtime.GOARCH {
		program, err = os.ReadFile(agent)
	} else {
		program, err = embeddedAgent(e.Arch)
	}
	if err != nil {
		return cart{}, fmt.Errorf("read the agent for the engine's machine: %w", err)
	}
	t := cart{program: program}
	if j.Beside != nil {
		if t.beside, err = j.Beside(); err != nil {
			return cart{}, err
		}
	}
	sum := sha256.New() // whose Write never fails
	_, _ = sum.Write(program)
	for _, f := range t.beside {
		_, _ = sum.Write(append([]byte("\x00"+f.Name+"\x00"), f.Content...))
	}
	t.volume = "skerry-agent-" + hex.EncodeToString(sum.Sum(nil)[:6])
	if c.carts == nil {
		c.carts = map[string]cart{}
	}
	c.carts[agent] = t
	return t, nil
}

func embeddedAgent(arch string) ([]byte, error) {
	a, err := embedded.Find(arch)
	if err != nil {
		return nil, err
	}
	r, err := a.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// Fill sees to it that the volume of w holds the agent: it is filled once, and again when somebody has
// removed it. A container which is never started is what the engine needs for that.
func (c *Carrier) Fill(ctx context.Context, e *engineapi.Engine, j Job, w Way) error {
	if c.isFilled(w.Volume) {
		switch labels, err := e.VolumeLabels(ctx, w.Volume); {
		case err == nil && labels[LabelPart] == PartAgent:
			return nil
		case err != nil && !engineapi.IsAbsent(err):
			return err
		}
		c.Forget(w.Volume)
	}
	if err := c.filling.take(ctx); err != nil {
		return err
	}
	defer c.filling.leave()
	if c.isFilled(w.Volume) { // by another job meanwhile
		return nil
	}
	t, err := c.loaded(e, j)
	if err != nil {
		return err
	}
	if t.volume != w.Volume {
		return nil // an earlier runner's, whose containers are there already
	}
	if err := e.Volume(ctx, w.Volume, map[string]string{LabelPart: PartAgent}); err != nil {
		return err
	}
	if err := c.put(ctx, e, j, t); err != nil {
		return err
	}
	c.noteFilled(w.Volume)
	c.removing.Go(func() { removeOldAgents(ctx, e, w.Volume) })
	return nil
}

// put brings the agent into its volume, unless it is there.
func (c *Carrier) put(ctx context.Context, e *engineapi.Engine, j Job, t cart) error {
	name := t.volume + "-fill"
	create := client.ContainerCreateOptions{
		Name:       name,
		Config:     &container.Config{Image: j.Image, User: "0:0", Entrypoint: []string{Exe}, Labels: j.Labels},
		HostConfig: &container.HostConfig{NetworkMode: "none", Mounts: []mount.Mount{{Type: mount.TypeVolume, Source: t.volume, Target: Bin}}},
	}
	if err := claim(ctx, e, create); err != nil {
		return err
	}
	defer c.remove(ctx, e, name)
	size, err := e.SizeIn(ctx, name, Exe)
	if err == nil && size == int64(len(t.program)) {
		return nil
	}
	if err != nil && !engineapi.IsAbsent(err) {
		return err
	}
	// The agent is the last: its size says that all is there.
	archive, err := Pack(append(t.beside[:len(t.beside):len(t.beside)], Entry{Name: path.Base(Exe), Mode: 0o755, Content: t.program})...)
	if err == nil {
		err = e.CopyInto(ctx, name, Bin, archive)
	}
	if err != nil {
		return fmt.Errorf("bring the agent into volume %s: %w", t.volume, err)
	}
	return nil
}

// agentAge is after which the volume with an agent is removed that nobody uses; its runner makes it again
// when it is one that still runs.
const agentAge = 7 * 24 * time.Hour

// removeOldAgents removes the agents of runners that have been replaced.
func removeOldAgents(ctx context.Context, e *engineapi.Engine, mine string) {
	ctx, cancel := whole(ctx)
	defer cancel()
	old, err := e.OldVolumes(ctx, LabelPart, PartAgent, time.Now().Add(-agentAge))
	if err != nil {
		return // the next runner that begins tries it
	}
	for _, name := range old {
		if name != mine {
			_ = e.RemoveUnused(ctx, name) // fails while a container has it
		}
	}
}

func (c *Carrier) isFilled(volume string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.filled[volume]
}

func (c *Carrier) noteFilled(volume string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.filled == nil {
		c.filled = map[string]bool{}
	}
	c.filled[volume] = true
}

// Forget has the next Fill look at the volume.
func (c *Carrier) Forget(volume string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.filled, volume)
}

// claimTime is after which a container that claims a volume is taken for one that a killed runner left.
const claimTime = 30 * time.Second

// claim makes the container that only one runner has at a time.
func claim(ctx context.Context, e *engineapi.Engine, o client.ContainerCreateOptions) error {
	until := time.Now().Add(claimTime)
	for {
		mine, err := e.Claim(ctx, o)
		if mine || err != nil {
			return err
		}
		if time.Now().After(until) {
			if err := e.Remove(ctx, o.Name); err != nil {
				return err
			}
			until = time.Now().Add(claimTime)
			continue
		}
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// wholeTime bounds a request to the engine that is not given up with the job.
const wholeTime = 2 * time.Minute

func whole(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), wholeTime)
}

// remove removes a container that has done its duty.
func (c *Carrier) remove(ctx context.Context, e *engineapi.Engine, name string) {
	c.removing.Go(func() {
		ctx, cancel := whole(ctx)
		defer cancel()
		_ = e.Remove(ctx, name) // its label names the job's environment: the next start removes it
		c.probes.Delete(name)
	})
}

// Mount is the mount of the agent's program.
func (w Way) Mount(agent string) mount.Mount {
	if w.Volume == "" {
		return mount.Mount{Type: mount.TypeBind, Source: filepath.Dir(agent), Target: Bin, ReadOnly: true}
	}
	return mount.Mount{Type: mount.TypeVolume, Source: w.Volume, Target: Bin, ReadOnly: true, VolumeOptions: &mount.VolumeOptions{NoCopy: true}}
}
