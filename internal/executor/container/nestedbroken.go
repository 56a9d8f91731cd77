package container

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
)

// startNested has the job's own engine come up. Where it does not with images that it was offered, and does without, these are offered to nobody
// any more: a machine that lost power may have half of them, and an older Podman need not read what a newer one has written. Else
// no job of the domain would have an engine again, and none could offer others.
func (v *environment) startNested(ctx context.Context, i *engineapi.Image) error {
	err := v.tryNested(ctx, i)
	n := v.b.Nested
	if err == nil || n.Images == "" || !v.b.fresh || ctx.Err() != nil {
		return err
	}
	making, cancel := whole(ctx)
	defer cancel()
	broken := n.Images
	if err := errors.Join(v.removeOwn(making, n.Name), v.engine.RemoveVolume(making, n.Store)); err != nil {
		return err
	}
	if err := v.b.note(v.dir, func() { n.Images, n.Domain = "", "" }); err != nil {
		return err
	}
	if v.tryNested(ctx, i) != nil {
		return err // that was not it
	}
	v.log.Warn("With the images that it was offered a job's own engine does not come up: they are offered to no job any more", "volume", broken, "error", err)
	v.e.host.images.Lock()
	err = v.e.generations().Forget(broken)
	v.e.host.images.Unlock()
	if err == nil {
		err = v.e.dropUnused(making, v.engine, broken)
	}
	if err != nil {
		v.log.Warn("Images that no job is offered any more could not be removed; it is tried again", "volume", broken, "error", err)
	}
	return nil
}

// tryNested makes the engine and waits until it answers and, if it has been offered images, can read what these are.
func (v *environment) tryNested(ctx context.Context, i *engineapi.Image) error {
	if err := v.createNested(ctx, i); err != nil {
		return v.nestedLacks(err, err.Error())
	}
	await := v.awaitNested
	if v.remote() {
		await = v.awaitNestedThere
	}
	if err := await(ctx); err != nil || v.b.Nested.Images == "" {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, nestedTime)
	defer cancel()
	// One that is not there: nothing is weighed.
	r, err := v.callNested(ctx, http.MethodGet, "/v4.0.0/libpod/images/json?"+url.Values{"filters": {`{"reference":["localhost/none:none"]}`}}.Encode(), nil)
	if err != nil {
		return err
	}
	return r.Body.Close()
}
