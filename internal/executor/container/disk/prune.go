package disk

import (
	"context"
	"errors"
	"slices"
	"time"

	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
)

// fresh is for how long an image that was built, or a container that was made, is let be although nothing uses it: a job may
// be about to.
const fresh = time.Hour

// Pruned is what Prune has removed.
type Pruned struct {
	Images, Containers int
	Bytes              int64 // that the images have freed, as far as the engine tells
}

// Prune removes, whatever the budget is, what nothing uses: images that no job has or is about to have and no container is
// of, and containers that have ended and are not the runner's. Images that a label keeps stay, and those that Skerry has made
// for operators. Jobs that need an image which is being removed wait. Volumes stay. What has gone is returned with an error, too.
func (k *Keeper) Prune(ctx context.Context) (Pruned, error) {
	k.looking.Lock()
	defer k.looking.Unlock()
	ctx, cancel := context.WithTimeout(ctx, sweepTime)
	defer cancel()
	engine, err := k.o.Engine(ctx)
	if err != nil {
		return Pruned{}, err
	}
	k.settle(ctx, engine)
	var done Pruned
	before := k.o.Now().Add(-fresh)
	ended, err := engine.Ended(ctx, k.o.LabelOwner, before)
	if err != nil {
		return done, err
	}
	var errs []error
	for _, name := range ended {
		gone, err := engine.DropContainer(ctx, name)
		errs = append(errs, err)
		if gone {
			done.Containers++
		}
	}
	images, err := engine.StoredImages(ctx)
	if err != nil {
		return done, errors.Join(append(errs, err)...)
	}
	for _, i := range images {
		if i.Created.After(before) && k.known(i.ID) == nil {
			continue
		}
		gone, err := k.pruneImage(ctx, engine, i)
		errs = append(errs, err)
		if gone {
			done.Images++
			done.Bytes += i.Size
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.save()
	return done, errors.Join(errs...)
}

// known is the ledger's entry of an image; nil when there is none.
func (k *Keeper) known(id string) *imageEntry {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.ledger.data.Images[id]
}

// pruneImage removes an image with all its names, unless something uses it or wants it kept.
func (k *Keeper) pruneImage(ctx context.Context, engine *engineapi.Engine, i engineapi.StoredImage) (gone bool, err error) {
	entry := k.known(i.ID)
	if keeps(i.Labels) || entry == nil && i.Labels[labelMade] != "" {
		return false, nil
	}
	names := i.Tags
	if len(names) == 0 {
		names = []string{i.ID}
	}
	all := slices.Concat(names, i.Digests, []string{i.ID})
	if entry != nil {
		all = append(all, entry.Refs...)
	}
	defer k.close(newRefs(all...))()
	inUse, err := k.inUse()
	if err != nil || inUse.holds(i, all) {
		return false, err
	}
	for _, n := range names {
		// A later pull may have given the name to another image.
		if now, err := engine.Image(ctx, n); err != nil || now.ID != i.ID {
			continue
		}
		err := engine.DropImage(ctx, n)
		if errors.Is(err, engineapi.ErrInUse) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		gone = true
	}
	if gone {
		k.o.Log.Info("Pruned from the engine's disk", "image", names[0], "size", size(i.Size))
		k.mu.Lock()
		defer k.mu.Unlock()
		delete(k.ledger.data.Images, i.ID)
	}
	return gone, nil
}
