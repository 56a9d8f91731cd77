package container

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/moby/moby/client"

	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
)

// ensure makes what is missing of the engine for a job, and waits until it answers. One that was made of something else is made
// anew when no other job has it, and one that does not answer whoever has it.
func (s *sharedEngine) ensure(ctx context.Context, v *environment, i *engineapi.Image) error {
	release, err := s.take(ctx)
	if err != nil {
		return err
	}
	defer release()
	view := v.e.sharedView(v.engine, v.b.Ref.Owner, s.name)
	view.log = v.log
	view.b.Agent, view.b.Nested.Image = v.b.Agent, v.b.Shared.Image
	if view.b.Binds, err = v.e.sharedBinds(); err != nil {
		return err
	}
	if err := view.openNested(ctx); err != nil {
		return err
	}
	o, err := view.sharedContainer(i)
	if err != nil {
		return view.nestedLacks(err, "")
	}
	others, err := s.users(v.b.Ref)
	if err != nil {
		return err
	}
	state, err := view.keepShared(ctx, o.Config.Labels[labelShared], others)
	if err != nil {
		return err
	}
	if !state.Running {
		from := time.Now()
		if state.ID, err = view.startShared(ctx, o, state.ID); err != nil {
			return err
		}
		view.forgetContainers(ctx, from)
	}
	return v.b.note(v.dir, func() { v.b.Shared.Container = state.ID })
}

// keepShared looks at the engine that there is: the state has an ID if there is one to be used, which answers if it runs. Any other one it removes.
func (v *environment) keepShared(ctx context.Context, spec string, others int) (state engineapi.State, err error) {
	name := v.b.Nested.Name
	state, err = v.engine.State(ctx, name)
	if engineapi.IsAbsent(err) {
		return engineapi.State{}, nil
	}
	if err != nil {
		return state, err
	}
	if err := v.checkShared(state); err != nil {
		return state, err
	}
	switch {
	case !state.Running && !state.Created: // what it knows of its containers is of before its end
		v.log.Info("The container engine that jobs share has ended: it is made anew, its images stay", "container", name)
	case others == 0 && state.Labels[labelShared] != spec:
		v.log.Info("The container engine that jobs share is to be another: it is made anew, its images stay", "container", name)
	case !state.Running:
		return state, nil
	default:
		// Any job can stop its processes, or fill it so that it does not answer any more.
		err := v.awaitNestedFor(ctx, cmp.Or(v.e.host.SharedSilence, nestedTime))
		if err == nil || ctx.Err() != nil {
			return state, err
		}
		v.log.Warn("The container engine that jobs share does not answer: it is made anew, and what containers the jobs have there is gone; its images stay",
			"container", name, "other_jobs", others, "error", err)
	}
	making, cancel := whole(ctx)
	defer cancel()
	return engineapi.State{}, v.engine.Remove(making, name)
}

// checkShared refuses a container that has the engine's name and is somebody else's.
func (v *environment) checkShared(s engineapi.State) error {
	if s.Labels[labelOwner] == string(v.b.Ref.Owner) && s.Labels[labelPart] == partShared {
		return nil
	}
	return fmt.Errorf("the container %s at %s is not the engine that jobs of this runner share (nested in [runners.docker]), but has its name: remove it", v.b.Nested.Name, v.engine)
}

// startShared makes the engine, unless it has an id already, and starts it.
func (v *environment) startShared(ctx context.Context, o client.ContainerCreateOptions, id string) (string, error) {
	n := v.b.Nested
	making, cancel := whole(ctx)
	defer cancel()
	if id == "" {
		labels := map[string]string{labelOwner: string(v.b.Ref.Owner), labelPart: partSharedStore}
		if err := v.engine.VolumeWith(making, engineapi.VolumeOptions{Name: n.Store, Labels: labels}); err != nil {
			return "", err
		}
		var err error
		if id, err = v.engine.Create(making, o, labelOwner, labelPart); err != nil {
			return "", v.nestedLacks(err, err.Error())
		}
	}
	if err := v.engine.Start(making, n.Name); err != nil {
		return "", v.nestedLacks(err, err.Error())
	}
	return id, v.awaitNested(ctx)
}

// partSharedStore is the value of labelPart of a shared engine's volume.
const partSharedStore = "nested-store"

// forgetTime is how long a job waits for forgetContainers.
const forgetTime = 20 * time.Second

// forgetContainers removes the containers of before from an engine that has been made anew, whosever they are: they do not run any more, and their
// names are free again. That it fails is nothing that a job has to know.
func (v *environment) forgetContainers(ctx context.Context, before time.Time) {
	ctx, cancel := context.WithTimeout(ctx, forgetTime)
	defer cancel()
	filters := fmt.Sprintf(`{"until":["%d.%09d"]}`, before.Unix(), before.Nanosecond())
	r, err := v.callNested(ctx, http.MethodPost, "/v4.0.0/libpod/containers/prune?"+url.Values{"filters": {filters}}.Encode(), nil)
	if err != nil {
		v.log.Warn("Containers that ended with the shared container engine could not be removed: their names stay taken", "container", v.b.Nested.Name, "error", err)
		return
	}
	_ = r.Body.Close()
}
