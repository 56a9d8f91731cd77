package container

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/moby/moby/client"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
	"gitlab.com/skerry/skerry/internal/executor/container/images"
	"gitlab.com/skerry/skerry/internal/job"
)

// expand replaces a job's variables in a value of the configuration.
func (e *Executor) expand(j *job.Job, value string) string {
	return j.Variables.ExpandString(value, nil)
}

// rule judges the images and users of a job by the runner's rules, and writes into the blueprint what
// follows from these. Its errors are *executor.Failure.
func (e *Executor) rule(b *blueprint, j *job.Job) error {
	r := e.o.Rules
	// What the configuration names is allowed, but not what a job's variables make of it.
	var defaults, services []string
	if !strings.Contains(e.o.Image, "$") {
		defaults = []string{e.o.Image}
	}
	for _, s := range e.o.Services {
		if !strings.Contains(s.Name, "$") {
			services = append(services, s.Name)
		}
	}
	err := r.CheckImage(b.Build.Image, defaults...)
	if err == nil {
		err = r.CheckUser(b.Build.User, e.o.User)
	}
	if err == nil {
		b.Build.Policies, err = r.Policies(b.Build.Policies)
	}
	if err == nil {
		b.Helper.Policies, err = r.Policies(nil)
	}
	b.Build.Unprivileged = !r.Privileged(b.Build.Image)
	for i := range b.Services {
		s := &b.Services[i].part
		if err == nil {
			err = r.CheckService(s.Image, services...)
		}
		if err == nil {
			err = r.CheckUser(s.User, "") // the configured one is that of jobs, not of services
		}
		if err == nil {
			s.Policies, err = r.Policies(s.Policies)
		}
		s.Unprivileged = !r.PrivilegedServices(s.Image)
	}
	if err == nil {
		b.Access = images.NewAccess(j, e.o.Scope)
	}
	return err
}

// image finds or pulls a part's image, and writes down which one it is: another process goes on with the
// same, and asks no registry for it again.
func (v *environment) image(ctx context.Context, p *part) (*engineapi.Image, error) {
	space, known := v.e.space(v.b.Ref.Owner), v.b.now(p)
	if known.ImageID != "" {
		space.Wait(ctx, known.ImageID)
		i, err := v.engine.Image(ctx, known.ImageID)
		if err == nil {
			space.Need(i.ID)
		}
		if err == nil || !engineapi.IsAbsent(err) {
			return i, err
		}
	}
	name, log := known.Image, v.out
	if p == &v.b.Helper && v.b.OwnTools {
		ref, made, err := v.findTools(ctx, known.ImageID != "")
		if err != nil {
			return nil, err
		}
		if made != nil { // by the runner itself: there is nothing to pull, and nothing to tell the job's author
			space.Need(made.ID)
			return made, v.b.note(v.dir, func() { p.Image, p.ImageID = ref, made.ID })
		}
		if err := v.b.note(v.dir, func() { p.Image = ref }); err != nil {
			return nil, err
		}
		name = ref
	}
	puller, err := v.e.host.puller(v.e.o.Dir)
	if err != nil {
		return nil, err
	}
	space.Wait(ctx, name)
	end := func(error) {}
	if p != &v.b.Helper { // the helper's lines come first; all others wait for its image in any case
		w := &inTurn{out: v.out, turn: v.helperStep}
		log, end = w, func(err error) { w.end(ctx, err) }
	}
	i, err := puller.Get(ctx, v.engine, images.Request{
		Name: name, Policies: p.Policies, Platform: p.Platform, Access: v.b.Access, Log: log, Pulling: space.Pull,
	})
	end(err)
	if err != nil {
		return nil, err
	}
	space.Need(i.ID)
	return i, v.b.note(v.dir, func() { p.ImageID = i.ID })
}

// findHelper brings the image of the helper place.
func (v *environment) findHelper(ctx context.Context) error {
	if v.b.Helper.Image == "" {
		if err := v.b.note(v.dir, func() { v.b.OwnTools = true }); err != nil {
			return err
		}
	}
	i, err := v.image(ctx, &v.b.Helper)
	v.tools = i
	return err
}

// partImage is the image of a part that is about to be made.
func (v *environment) partImage(ctx context.Context, p *part) (*engineapi.Image, error) {
	if p == &v.b.Helper && v.tools != nil && v.tools.ID == v.b.now(p).ImageID {
		return v.tools, nil
	}
	return v.image(ctx, p)
}

// findTools finds the helper image of the host, see helpers.find. It is kept for the jobs to come.
func (v *environment) findTools(ctx context.Context, gone bool) (string, *engineapi.Image, error) {
	ref, made, err := v.e.host.helper(ctx, v.engine, gone, v.out)
	if space := v.e.space(v.b.Ref.Owner); err == nil && space.Pin(ref) {
		space.Wait(ctx, ref) // it may have been evicted just before
		ref, made, err = v.e.host.helper(ctx, v.engine, true, v.out)
	}
	return ref, made, err
}

// vanished reports whether err, of a container's making, comes from an image that the engine had a moment ago. An
// image that goes just then makes for errors of many kinds.
func (v *environment) vanished(ctx context.Context, err error, id string) bool {
	if err == nil || ctx.Err() != nil || engineapi.IsUnreachable(err) || engineapi.IsSilent(err) {
		return false
	}
	_, look := v.engine.Image(ctx, id)
	return engineapi.IsAbsent(look)
}

// create makes the container of a part of its image as it was found. An image that has vanished since is
// brought again, once.
func (v *environment) create(ctx context.Context, p *part, i *engineapi.Image, spec func(*engineapi.Image) (client.ContainerCreateOptions, error)) error {
	once := func(i *engineapi.Image) error {
		o, err := spec(i)
		if err != nil {
			return err
		}
		ctx, cancel := whole(ctx)
		defer cancel()
		_, err = v.engine.Create(ctx, o, labelOwner, labelRef)
		return err
	}
	err := once(i)
	if err == nil || !v.vanished(ctx, err, i.ID) {
		return err
	}
	name := v.b.now(p).Image
	fmt.Fprintf(v.out, "The image %s vanished before its container was made: it is brought again\n", name)
	if i, err = v.image(ctx, p); err != nil {
		return err
	}
	if err = once(i); v.vanished(ctx, err, i.ID) {
		return &executor.Failure{Reason: job.ReasonImagePull, Err: errors.Join(fmt.Errorf("the image %s vanishes as soon as it has been pulled", name), err)}
	}
	return err
}
