package container

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/moby/client"

	"gitlab.com/skerry/skerry/internal/agent/nested"
	"gitlab.com/skerry/skerry/internal/agent/netslot"
	"gitlab.com/skerry/skerry/internal/dockeropt"
	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
	"gitlab.com/skerry/skerry/internal/executor/container/images"
	"gitlab.com/skerry/skerry/internal/executor/container/seccomp"
	"gitlab.com/skerry/skerry/internal/job"
)

// partShared is the value of labelPart of an engine that all jobs of a runner entry share.
const partShared = "nested-shared"

// labelShared tells what such an engine was made of.
const labelShared = "com.gitlab.skerry.nested.spec"

// sharedName is that of the engine which the jobs of the entry share. It does not begin as the names of jobs' own containers do: what
// begins so is not taken out of a network that is to go.
func (e *Executor) sharedName(owner executor.OwnerID) string {
	return sharedPrefix + string(owner) + "-" + e.o.Scope
}

const sharedPrefix = "nested-skerry-"

// sharedStore is the volume of the images and containers of a shared engine.
func sharedStore(name string) string { return name + sharedSuffix }

const sharedSuffix = "-store"

// sharedPart is the engine that a job shares with others.
type sharedPart struct {
	part

	Container string `json:"container,omitempty"` // its id when the job came to it
}

// sharedDir is the directory of this machine that belongs to a shared engine.
func (e *Executor) sharedDir(name string) string {
	return filepath.Join(e.o.Dir, ".nested", e.engineKey()+"-"+name)
}

// engineKey stands for the engine in names of files, however its socket is addressed: /var/run is a link to /run nearly everywhere.
func (e *Executor) engineKey() string {
	host := e.o.Engine.Host
	if path, ok := strings.CutPrefix(host, "unix://"); ok {
		if dir, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
			host = "unix://" + filepath.Join(dir, filepath.Base(path))
		}
	}
	sum := sha256.Sum256([]byte(host))
	return hex.EncodeToString(sum[:4])
}

// drawShared plans what the job has of the engine that all jobs of the entry share.
func (e *Executor) drawShared(b *blueprint) error {
	binds, err := e.sharedBinds()
	if err != nil {
		return err
	}
	b.Shared = &sharedPart{part: part{Name: e.sharedName(b.Ref.Owner), Image: e.o.Nested.Image}}
	warning := "this job shares its container engine with all jobs of this runner: each can see, stop and mount into the containers of the others"
	if !holdsDir(binds, e.o.BuildsDir) {
		warning += "; the project directory is not in that engine, so it cannot be mounted into containers"
	}
	b.Warnings = append(b.Warnings, warning)
	return nil
}

// sharedBinds are the entries of volumes that are the same for every job: these a shared engine has, too.
func (e *Executor) sharedBinds() (binds []string, err error) {
	for _, text := range e.o.Volumes {
		v, err := dockeropt.ParseVolume(text)
		if err != nil || v.Source == "" || strings.Contains(text, "$") || !path.IsAbs(v.Path) {
			continue
		}
		p, err := v.Place(nil, "/")
		if err != nil {
			return nil, misconfigured("volumes in [runners.docker]: %w", err)
		}
		if dockeropt.HoldsPrograms(p) && !dockeropt.ReadOnly(v.Mode) {
			return nil, misconfigured("volumes in [runners.docker]: jobs can write to %s, where the program of the engine that they share (nested) has its own files: "+
				"mount it elsewhere or as ro", p)
		}
		bind := v.Source + ":" + p
		if v.Mode != "" {
			bind += ":" + v.Mode
		}
		binds = append(binds, bind)
	}
	return binds, nil
}

// holdsDir reports whether one of binds has dir.
func holdsDir(binds []string, dir string) bool {
	for _, text := range binds {
		if v, err := dockeropt.ParseVolume(text); err == nil && dockeropt.Within(path.Clean(dir), v.Path) {
			return true
		}
	}
	return false
}

// useShared sees to it that the shared engine is there, and that the job reaches what its containers publish.
func (v *environment) useShared(ctx context.Context, needs ...*step) error {
	for _, need := range append(needs, v.reached) {
		if err := need.wait(ctx); err != nil {
			return err
		}
	}
	if err := v.sharedElsewhere(); err != nil {
		return err
	}
	if err := v.checkNestedFrom(ctx); err != nil {
		return err
	}
	p := v.b.Shared
	i, err := v.engineImage(ctx, p.Image)
	if err == nil {
		err = v.b.note(v.dir, func() { p.ImageID = i.ID })
	}
	if err != nil {
		return err
	}
	fmt.Fprintln(v.out, "Using the container engine that the jobs of this runner share...")
	v.e.space(v.b.Ref.Owner).Volumes(sharedStore(p.Name))
	if err := v.shared().ensure(ctx, v, i); err != nil {
		return err
	}
	if v.b.Network != "" {
		return nil
	}
	ctx, cancel := whole(ctx)
	defer cancel()
	ip, err := v.engine.Connect(ctx, v.slot.Network, p.Name)
	if err != nil {
		return err
	}
	answer, err := v.pool.Up(ctx, v.slot, netslot.Ask{Hosts: []string{ip.String() + "\t" + strings.Join(v.b.engineNames(), " ")}})
	if err == nil && answer.Hosts != "" {
		v.log.Warn("The shared engine has no name in the job", "error", answer.Hosts)
	}
	return err
}

// sharedElsewhere refuses to share an engine that the runner cannot reach by a directory.
func (v *environment) sharedElsewhere() error {
	if v.b.Shared == nil || !v.remote() {
		return nil
	}
	return misconfigured("nested = \"shared\" in [runners.docker] needs an engine that shares directories with the runner, and %s does not: set it to \"podman\", for an engine of each job's own", v.engine)
}

// sharedView is a shared engine as the environment that it would be if it were a job's.
func (e *Executor) sharedView(engine *engineapi.Engine, owner executor.OwnerID, name string) *environment {
	labels := map[string]string{labelOwner: string(owner), labelPart: partShared}
	return &environment{bound: &nested.Bound{}, e: e, engine: engine, dir: e.sharedDir(name), out: io.Discard, log: e.log, b: &blueprint{
		Ref: executor.Ref{Owner: owner, ID: name}, Network: "none",
		Nested: &nestedPart{part: part{Name: name, Labels: labels}, Store: sharedStore(name)},
	}}
}

// sharedContainer is what the engine outside is told to make of a shared one. The limits are those of one job, for all together.
func (v *environment) sharedContainer(i *engineapi.Image) (client.ContainerCreateOptions, error) {
	o, err := v.nestedContainer(i)
	if err != nil {
		return o, err
	}
	h, l := o.HostConfig, v.e.o.Build
	h.NetworkMode = "bridge" // of the engine outside; those of jobs come and go
	h.Memory, h.MemorySwap, h.MemoryReservation, h.NanoCPUs = l.Memory, l.MemorySwap, l.MemoryReservation, l.NanoCPUs
	if l.Pids != 0 {
		h.PidsLimit = &l.Pids
	}
	spec, err := json.Marshal([]any{o.HostConfig, seccomp.Nested(v.engine.Arch, false), i.ID}) // Podman is given a profile by its path
	if err != nil {
		return o, fmt.Errorf("describe the shared engine: %w", err)
	}
	sum := sha256.Sum256(spec)
	o.Config.Labels = map[string]string{labelShared: hex.EncodeToString(sum[:8])}
	for k, value := range v.b.Nested.Labels {
		o.Config.Labels[k] = value
	}
	return o, nil
}

// engineImage finds the image of an engine for jobs, or pulls it.
func (v *environment) engineImage(ctx context.Context, name string) (*engineapi.Image, error) {
	if err := v.reached.wait(ctx); err != nil {
		return nil, err
	}
	puller, err := v.e.host.puller(v.e.o.Dir)
	if err != nil {
		return nil, err
	}
	space := v.e.space(v.b.Ref.Owner)
	space.Wait(ctx, name)
	i, err := puller.Get(ctx, v.engine, images.Request{
		Name: name, Policies: []string{images.IfNotPresent}, Log: io.Discard, Access: images.Access{Holder: "the runner"}, Pulling: space.Pull,
	})
	if err != nil {
		return nil, fmt.Errorf("the image of container engines for jobs, %s (`nested_image` in [runners.docker]; `skerry image build podman` makes one): %w", name, err)
	}
	space.Need(i.ID)
	return i, nil
}

// engineDir is the directory of the socket of the job's engine, its own or a shared one.
func (v *environment) engineDir() string {
	if v.b.Shared != nil {
		return filepath.Join(v.e.sharedDir(v.b.Shared.Name), nestedDir)
	}
	return filepath.Join(v.dir, nestedDir)
}

// engineNames are the host names of an engine in the job: a service that has one of them keeps it.
func (b *blueprint) engineNames() (names []string) {
	for _, alias := range []string{"nested", "docker"} {
		if !slices.ContainsFunc(b.Services, func(s servicePart) bool { return slices.Contains(s.Aliases, alias) }) {
			names = append(names, alias)
		}
	}
	return names
}

// wantsShared reports whether the job is content with an engine that it shares: a job may ask for one of its own instead.
func (n *Nested) wantsShared(j *job.Job) bool {
	return n.Shared && !strings.EqualFold(variable(j, VariableNested), "podman")
}

// reportShared says that the engine which the job shares is not the one that it came to.
func (v *environment) reportShared(ctx context.Context, engine *engineapi.Engine, out io.Writer) {
	if v.b.Shared == nil {
		return
	}
	v.b.mu.Lock()
	id := v.b.Shared.Container
	v.b.mu.Unlock()
	if id == "" {
		return
	}
	if s, err := engine.State(ctx, v.b.Shared.Name); engineapi.IsAbsent(err) || err == nil && (s.ID != id || !s.Running) {
		fmt.Fprintf(out, "%sWARNING: The container engine that jobs of this runner share has ended or was made anew while the job ran: the containers that it had there are gone.%s\n", yellow, plain)
	}
}
