package container

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"time"

	"gitlab.com/skerry/skerry/internal/agent/nested"
	"gitlab.com/skerry/skerry/internal/boottime"
	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
	"gitlab.com/skerry/skerry/internal/executor/container/generations"
	"gitlab.com/skerry/skerry/internal/image"
)

var _ executor.Bequeather = (*environment)(nil)

// Values of labelPart of the engines that make a generation.
const (
	partReader = "nested-reader"
	partMaker  = "nested-maker"
)

const (
	// offerReserve is what does not count as free on the disk.
	offerReserve = 1 << 30
	// offerEvery is the time from one generation of a domain to the next: each is a copy of all its images.
	offerEvery = 5 * time.Minute
	// copierEnds is how long an engine that has written a generation may take to end: what is killed is for nobody, and disks may be busy.
	copierEnds = 90 * time.Second
)

// Bequeath implements executor.Bequeather: the images of the job's own engine may be offered to later jobs of its trust domain.
func (v *environment) Bequeath(free func()) { v.heirs.Store(&free) }

// offerKept offers what the job's own engine has kept to later jobs, and reports whether it has tried. Nothing of the job runs any more, and its
// volumes may be another one's.
func (v *environment) offerKept(ctx context.Context) (tried bool) {
	n, h := v.b.Nested, v.e.host
	if n == nil || n.Domain == "" || n.ImageID == "" || v.b.Agent == nil || v.remote() || v.heirs.Load() == nil || v.spent() {
		return false
	}
	every := cmp.Or(h.OfferEvery, offerEvery)
	ctx, end, ok := h.offers.Begin(context.WithoutCancel(ctx), v.e.engineKey()+"-"+n.Domain, every)
	if !ok {
		return false
	}
	may, err := v.mayOffer(every)
	if may {
		v.offered = true
		if v.pool != nil {
			v.pool.Stays(v.b.Slot) // nobody should wait for the network so long
		}
		(*v.heirs.Load())()
		err = v.offer(ctx)
	}
	if errors.Is(err, generations.ErrNothing) {
		end(may, err)
		return may
	}
	if cause := context.Cause(ctx); err != nil && errors.Is(cause, generations.ErrOver) {
		v.log.Info("The images of a job's own engine are not offered to later jobs: the runner ends", "domain", n.Domain)
	} else {
		v.warnOfOffer(err)
	}
	end(may, err)
	return may
}

func (v *environment) warnOfOffer(err error) {
	if err != nil {
		v.log.Warn("The images of a job's own engine are not offered to later jobs", "domain", v.b.Nested.Domain, "error", err)
	}
}

// mayOffer reports whether the job's images may be made the next generation: one was not made just before, and the job had the last one, so that
// nothing of that is lost.
func (v *environment) mayOffer(every time.Duration) (bool, error) {
	g, err := v.e.generations().Read(v.b.Nested.Domain)
	since := time.Since(g.Made)
	return err == nil && g.Volume == v.b.Nested.Images && (since < 0 || since >= every), err
}

// offer copies the images into a new generation, and offers that to the next jobs; generations.ErrNothing where there are no new ones.
func (v *environment) offer(ctx context.Context) error {
	volume := v.b.Nested.Domain + "-" + v.b.Ref.ID
	// What an earlier process has begun is not gone on with.
	if err := errors.Join(v.removeCopiers(ctx), v.engine.RemoveVolume(ctx, volume)); err != nil {
		return err
	}
	made, err := v.fill(ctx, volume)
	ctx, cancel := whole(ctx)
	defer cancel()
	err = errors.Join(err, v.removeCopiers(ctx))
	if err == nil && made {
		err = v.commit(ctx, volume)
	}
	if err != nil || !made {
		err = errors.Join(err, v.engine.RemoveVolume(ctx, volume))
	}
	if err == nil && !made {
		return generations.ErrNothing
	}
	return err
}

// fill makes a generation of what the job's own engine has kept, if that has something new. Two engines do it, which have nothing of the job
// but its store and its limits: the first one reads the store, the second one writes the generation.
func (v *environment) fill(ctx context.Context, volume string) (made bool, err error) {
	from, err := v.startCopier(ctx, partReader, v.b.Nested.Store, v.b.Nested.Images, readerBound(v.diskBound()))
	if err != nil {
		return false, err
	}
	all, err := from.listImages(ctx)
	what := generations.Select(all)
	if err != nil || !what.Fresh {
		return false, err
	}
	dir, room, err := v.roomFor(ctx, what.Size)
	if err != nil {
		return false, err
	}
	labels := map[string]string{labelOwner: string(v.b.Ref.Owner), labelPart: partImages}
	making, cancel := whole(ctx)
	err = v.engine.VolumeWith(making, engineapi.VolumeOptions{Name: volume, Labels: labels})
	cancel()
	if err != nil {
		return false, err
	}
	to, err := v.startCopier(ctx, partMaker, volume, "", &nested.Bound{Bytes: room.Bytes})
	if err == nil {
		err = generations.WhileRoom(ctx, dir, room.Floor, lookForRoom, func(ctx context.Context) error { return copyImages(ctx, from, to, what.Names) })
	}
	if err == nil {
		err = to.stopCopier(ctx)
	}
	return err == nil, err
}

// removeCopiers removes the engines that make a generation.
func (v *environment) removeCopiers(ctx context.Context) error {
	return errors.Join(v.removeOwn(ctx, containerName(v.b.Ref, partReader)), v.removeOwn(ctx, containerName(v.b.Ref, partMaker)))
}

// listImages is what a nested engine says that it has.
func (v *environment) listImages(ctx context.Context) ([]generations.Image, error) {
	r, err := v.callNested(ctx, http.MethodGet, "/v4.0.0/libpod/images/json", nil)
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	all, err := generations.ReadList(r.Body)
	if err != nil {
		return nil, fmt.Errorf("list the images of the job's own engine: %w", err)
	}
	return all, nil
}

// copyImages has one engine write what it has under names, and another one read it.
func copyImages(ctx context.Context, from, to *environment, names []string) error {
	saved, err := from.callNested(ctx, http.MethodGet, "/v4.0.0/libpod/images/export?"+url.Values{"format": {"docker-archive"}, "references": names}.Encode(), nil)
	if err != nil {
		return err
	}
	defer saved.Body.Close()
	loaded, err := to.callNested(ctx, http.MethodPost, "/v4.0.0/libpod/images/load", io.LimitReader(saved.Body, generations.MaxBytes+generations.MaxBytes/8))
	if err != nil {
		return err
	}
	defer loaded.Body.Close()
	return generations.CheckLoaded(loaded.Body, names)
}

// stopCopier ends an engine that has written a generation; an error when it had to be killed: what it has written may not be whole.
func (v *environment) stopCopier(ctx context.Context) error {
	name := v.b.Nested.Name
	if err := v.engine.Stop(ctx, name, copierEnds); err != nil {
		return err
	}
	s, err := v.engine.State(ctx, name)
	if err == nil && (s.Running || s.ExitCode != 0 || s.OOMKilled) {
		err = fmt.Errorf("the engine that was to write images for later jobs did not end by itself: exit code %d", s.ExitCode)
	}
	return err
}

// startCopier starts an engine on a store, with a generation or without, that has no network and no volume of the job, and keeps no more than bound.
func (v *environment) startCopier(ctx context.Context, which, store, images string, bound *nested.Bound) (*environment, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	name := containerName(v.b.Ref, which)
	view := &environment{bound: bound, e: v.e, engine: v.engine, dir: filepath.Join(v.dir, which), out: io.Discard, log: v.log, b: &blueprint{
		Ref: v.b.Ref, Network: "none", Agent: v.b.Agent,
		Nested: &nestedPart{part: part{Name: name, Image: v.b.Nested.Image, Labels: ownLabels(v.b.Ref, which)}, Store: store, Images: images},
	}}
	if err := view.openNested(ctx); err != nil {
		return nil, err
	}
	o, err := view.nestedContainer(&engineapi.Image{ID: v.b.Nested.ImageID})
	if err != nil {
		return nil, err
	}
	o.HostConfig.VolumesFrom = nil
	o.Config.Env = append(o.Config.Env, "TMPDIR="+image.NestedStore) // else it is the container's own layer, which no budget counts
	making, cancel := whole(ctx)
	defer cancel()
	if _, err := v.engine.Create(making, o, labelOwner, labelRef); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err := v.engine.Start(making, name); err != nil {
		return nil, err
	}
	return view, view.awaitNested(ctx)
}

// commit makes a generation that is whole the one that is offered.
func (v *environment) commit(ctx context.Context, volume string) error {
	h, n := v.e.host, v.b.Nested
	h.images.Lock()
	err := v.e.generations().Write(n.Domain, generations.Record{Volume: volume, Made: time.Now(), Boot: boottime.ID()})
	h.images.Unlock()
	if err != nil {
		return err
	}
	v.e.space(v.b.Ref.Owner).Volumes(volume)
	v.log.Info("The images of a job's own engine are offered to later jobs", "domain", n.Domain, "volume", volume)
	if err := v.e.reconcileImages(ctx, v.engine, v.b.Ref.Owner); err != nil {
		v.log.Warn("Images that no job is offered any more could not be removed; it is tried again", "domain", n.Domain, "error", err)
	}
	return nil
}
