package container

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"

	"gitlab.com/skerry/skerry/internal/agent"
	"gitlab.com/skerry/skerry/internal/agent/nested"
	"gitlab.com/skerry/skerry/internal/agent/netslot"
	"gitlab.com/skerry/skerry/internal/dockeropt"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
	"gitlab.com/skerry/skerry/internal/executor/container/images"
	"gitlab.com/skerry/skerry/internal/image"
	"gitlab.com/skerry/skerry/internal/job"
	"gitlab.com/skerry/skerry/internal/nixstore/domain"
)

// Nested is the engine that each job has for containers of its own.
type Nested struct {
	Image  string `json:"image"`
	Asking bool   `json:"asking,omitempty"` // only for jobs with VariableNested
	// Disk is how much the engine may keep; a job whose engine keeps more loses it.
	Disk nested.Bound `json:"disk,omitzero"`
	// Images says which jobs are offered the images that others have pulled or built; empty: none.
	Images domain.Trust `json:"images,omitempty"`
	Shared bool         `json:"shared,omitempty"` // one engine for all jobs of the entry that do not ask for their own
}

// VariableNested is the job's variable that asks for an engine of its own, or for what the runner gives, or does without: "podman", "true", "off".
const VariableNested = "SKERRY_NESTED"

// nestedPart is the container of the job's own engine.
type nestedPart struct {
	part

	Aliases []string `json:"aliases"` // host names by which the job reaches what nested containers publish
	Store   string   `json:"store"`   // the volume of its images and containers

	Domain string `json:"domain,omitempty"` // of those who are offered each other's images; empty: nobody is
	Images string `json:"images,omitempty"` // the generation of that domain which it has; empty: none (yet)
}

// partNested is the value of labelPart of the container.
const partNested = "nested"

// nestedDir is the directory of the engine's socket, in the environment's; the engine and the build place have it.
const nestedDir = "nested"

// nestedSocket is the socket's name in it.
var nestedSocket = filepath.Base(image.NestedSocket) //nolint:gochecknoglobals // a constant

// asksNested reports whether a job asks for an engine, or says that it needs none; by default it has what the runner gives.
func asksNested(j *job.Job, otherwise bool) (bool, error) {
	switch v := strings.ToLower(variable(j, VariableNested)); v {
	case "":
		return otherwise, nil
	case "podman", "shared", "true", "1", "yes":
		return true, nil
	case "off", "false", "0", "no", "none":
		return false, nil
	default:
		return false, misconfigured("the variable %s is %q: set it to \"podman\" for an engine of the job's own, or to \"off\"", VariableNested, v)
	}
}

// drawNested plans the job's own engine.
func (e *Executor) drawNested(b *blueprint, j *job.Job) error {
	n := e.o.Nested
	wanted, err := asksNested(j, n != nil && !n.Asking)
	if err != nil || !wanted {
		return err
	}
	if n == nil {
		b.Warnings = append(b.Warnings, VariableNested+" asks for a container engine, and this runner gives jobs none (nested in [runners.docker])")
		return nil
	}
	if n.wantsShared(j) {
		return e.drawShared(b)
	}
	if b.Network != "" {
		return misconfigured("nested in [runners.docker] needs the job's own network, and network_mode is %q: leave one of them out", b.Network)
	}
	b.Nested = &nestedPart{
		part:  part{Name: containerName(b.Ref, partNested), Image: n.Image, Env: proxies(j), Labels: labels(b.Ref, j, partNested, e.o.Labels)},
		Store: containerName(b.Ref, "nested-store"),
	}
	b.Nested.Aliases = b.engineNames()
	return e.drawImages(b, j)
}

// checkNested refuses volumes from which the engine itself would be started: what a job has put there would run in the next one's
// engine outside of all user namespaces, and become root by what is setuid in another volume.
func (b *blueprint) checkNested() error {
	if b.Nested == nil {
		return nil
	}
	binds, mounts := b.files()
	for _, m := range mounts {
		binds = append(binds, m.Source+":"+m.Target)
	}
	for _, text := range binds {
		v, err := dockeropt.ParseVolume(text)
		if err == nil && dockeropt.HoldsPrograms(v.Path) && !dockeropt.ReadOnly(v.Mode) {
			return misconfigured("volumes in [runners.docker]: jobs can write to %s, where the program of the job's own engine (nested) has its own files: "+
				"mount it elsewhere or as ro, or do without the engine (%s: \"off\")", v.Path, VariableNested)
		}
	}
	return nil
}

// checkNestedFrom is checkNested of what the containers in volumes_from have, which only the engine knows.
func (v *environment) checkNestedFrom(ctx context.Context) error {
	for _, text := range v.e.o.VolumesFrom {
		name, mode, _ := strings.Cut(text, ":")
		if dockeropt.ReadOnly(mode) {
			continue
		}
		paths, err := v.engine.Writable(ctx, name)
		if err != nil {
			return fmt.Errorf("volumes_from in [runners.docker]: %w", err)
		}
		if i := slices.IndexFunc(paths, func(p string) bool { return dockeropt.HoldsPrograms(filepath.Clean(p)) }); i >= 0 {
			return misconfigured("volumes_from in [runners.docker]: jobs can write to %s of the container %s, where the program of the job's own engine (nested) has its own files: "+
				"name it as \"%s:ro\", or do without the engine (%s: \"off\")", paths[i], name, name, VariableNested)
		}
	}
	return nil
}

// proxies are those of the job's variables that say how to reach registries.
func proxies(j *job.Job) []string {
	var vars job.Variables
	for _, v := range j.Variables {
		switch strings.ToLower(v.Key) {
		case "http_proxy", "https_proxy", "no_proxy", "all_proxy":
			vars = append(vars, v)
		}
	}
	return environ(j, vars)
}

// makeNested makes and starts the job's own engine, and waits until it answers.
func (v *environment) makeNested(ctx context.Context, way *step, needs ...*step) error {
	n := v.b.Nested
	if v.b.Shared != nil {
		return v.useShared(ctx, append(needs, way)...)
	}
	if n == nil {
		return nil
	}
	i, err := v.nestedImage(ctx)
	if err != nil {
		return err
	}
	for _, need := range append(needs, way) {
		if err := need.wait(ctx); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := v.checkNestedFrom(ctx); err != nil {
		return err
	}
	fmt.Fprintln(v.out, "Starting the job's own container engine...")
	if err := v.openNested(ctx); err != nil {
		return err
	}
	if err := v.startNested(ctx, i); err != nil {
		return err
	}
	answer, err := v.pool.Up(ctx, v.slot, netslot.Ask{Hosts: n.hosts()})
	if err == nil && answer.Hosts != "" {
		v.log.Warn("A job's own engine has no name in the job", "error", answer.Hosts)
	}
	return err
}

// openNested makes the directory of the engine's socket, for the one of its two containers that comes first.
func (v *environment) openNested(ctx context.Context) error {
	if v.b.Nested == nil && v.b.Shared == nil {
		return nil
	}
	if v.remote() {
		if err := v.sharedElsewhere(); err != nil {
			return err
		}
		return v.makeDoor(ctx)
	}
	dir := v.engineDir()
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return fmt.Errorf("make the directory of a container engine: %w", err)
	}
	if err := openDirs(dir); err != nil {
		return err
	}
	relabel(v.log, dir)
	return nil
}

// hosts names the engine in the job: what its containers publish is on the job's own network.
func (n *nestedPart) hosts() []string {
	if len(n.Aliases) == 0 {
		return nil
	}
	return []string{netip.AddrFrom4([4]byte{127, 0, 0, 1}).String() + "\t" + strings.Join(n.Aliases, " ")}
}

func (v *environment) createNested(ctx context.Context, i *engineapi.Image) error {
	n := v.b.Nested
	making, cancel := whole(ctx)
	defer cancel()
	err := v.engine.VolumeWith(making, engineapi.VolumeOptions{Name: n.Store, Labels: ownLabels(v.b.Ref, partVolume)})
	if err == nil && v.remote() {
		err = v.findProfile(making)
	}
	if err == nil {
		err = v.chooseImages(making)
	}
	if err == nil {
		err = v.create(ctx, &n.part, i, v.nestedContainer)
	}
	if err != nil {
		return err
	}
	if !v.b.fresh { // one that has died since an earlier process started it stays dead
		if s, err := v.engine.State(ctx, n.Name); err != nil || !s.Created {
			return err
		}
	}
	if v.remote() {
		if err := v.fitNested(making); err != nil {
			return err
		}
	}
	return v.engine.Start(making, n.Name)
}

// nestedImage finds the image of the job's own engine.
func (v *environment) nestedImage(ctx context.Context) (*engineapi.Image, error) {
	n := v.b.Nested
	i, err := v.engineImage(ctx, n.Image)
	if err != nil {
		return nil, err
	}
	return i, v.b.note(v.dir, func() { n.ImageID, n.Policies = i.ID, []string{images.IfNotPresent} })
}

// nestedContainer is what the engine is told to make of the job's own one.
func (v *environment) nestedContainer(i *engineapi.Image) (client.ContainerCreateOptions, error) {
	n, no := v.b.Nested, false
	o := client.ContainerCreateOptions{
		Name: n.Name,
		Config: &container.Config{
			Image: i.ID, User: fmt.Sprintf("%d:%d", image.NestedUID, image.NestedUID), Labels: n.Labels, WorkingDir: image.NestedHome,
			Env: append(n.Env[:len(n.Env):len(n.Env)], "HOME="+image.NestedHome, "XDG_RUNTIME_DIR="+image.NestedRun,
				"DISABLE_HC_SYSTEMD=true"), // Podman would have it run health checks, and the agent does
			Entrypoint: append(append([]string{agentExe, nested.Command}, nested.Bounded(v.diskBound(), image.NestedStore)...), image.NestedSocket),
			Cmd:        []string{"podman", "system", "service", "--time=0"},
		},
		HostConfig: &container.HostConfig{Init: &no},
	}
	if err := v.confine(&o, v.e.o.Build.nested(v.engine.Kind).below(v.b.Cgroup), n.Image); err != nil {
		return o, err
	}
	h := o.HostConfig
	h.CapDrop, h.Devices, h.LogConfig = nestedDrop(), nestedDevices(), v.nestedLog()
	if err := v.nestedSecurity(h); err != nil {
		return o, err
	}
	h.VolumesFrom = v.e.o.VolumesFrom
	h.Mounts = append([]mount.Mount{
		v.b.Agent.Mount(v.e.o.Agent), v.nestedMount(false),
		{Type: mount.TypeVolume, Source: n.Store, Target: image.NestedStore},
	}, h.Mounts...)
	n.offerImages(&o)
	return o, v.join(&o, partNested)
}

// nestedMount is the directory of the socket.
func (v *environment) nestedMount(readOnly bool) mount.Mount {
	if v.remote() {
		return v.nestedDoorMount(readOnly)
	}
	return mount.Mount{Type: mount.TypeBind, Source: v.engineDir(), Target: filepath.Dir(image.NestedSocket), ReadOnly: readOnly}
}

// nestedConfig tells the build place's agent where the job's tools find their engine, whose root is no user of the job's: what
// the job makes has to be open to it where it is bound into a container, as the sources are.
func (v *environment) nestedConfig(c *agent.Config) {
	if v.b.Nested == nil && v.b.Shared == nil {
		return
	}
	c.Env = []string{"CONTAINER_HOST=unix://" + image.NestedSocket, "DOCKER_HOST=unix://" + image.NestedSocket, "DOCKER_BUILDKIT=0"} // Podman builds by itself
	if !v.b.Owned {
		c.Umask = v.e.o.Umask
	}
}

// closeNested removes what the engine has kept; its container is gone.
func (v *environment) closeNested(ctx context.Context) error {
	if v.b.Nested == nil {
		return nil
	}
	err := v.engine.RemoveVolume(ctx, v.b.Nested.Store)
	if v.b.Agent != nil && v.remote() {
		err = errors.Join(err, v.engine.RemoveVolume(ctx, v.nestedDoor()))
	}
	return err
}

// removeNested removes the container, whatever volume_keep says: what it has kept is the job's alone.
func (v *environment) removeNested(ctx context.Context) error {
	if v.b.Nested == nil {
		return nil
	}
	err := v.removeOwn(ctx, v.b.Nested.Name)
	if v.b.Nested.Domain != "" && (!v.fresh || v.offered) { // an earlier process may have been in the middle of an offer
		err = errors.Join(err, v.removeCopiers(ctx))
	}
	return err
}
