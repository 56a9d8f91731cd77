package disk

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
)

// evict removes one thing, unless it is in use.
func (s *sweep) evict(ctx context.Context, i Item, why string) error {
	at := slices.IndexFunc(s.items, func(o Item) bool { return o.Kind == i.Kind && o.Name == i.Name && o.In == i.In })
	if at < 0 {
		return nil // it went with something else
	}
	var err error
	var gone bool
	switch i.Kind {
	case Image:
		gone, err = s.evictImage(ctx, i)
	case Volume:
		gone, err = s.evictVolume(ctx, i)
	case Archive:
		gone, err = s.evictArchive(i)
	}
	if errors.Is(err, engineapi.ErrInUse) {
		err = nil
	}
	if err != nil || !gone {
		return err
	}
	freed := s.items[at].Size
	s.items = slices.DeleteFunc(s.items, func(o Item) bool {
		with := o.Kind == i.Kind && o.Name == i.Name && o.In == i.In || i.Kind == Volume && o.In == i.Name
		if with && o.In == i.Name && i.Kind == Volume {
			freed += o.Size
		}
		return with
	})
	s.k.mu.Lock()
	delete(s.k.sizes, cmp.Or(i.In, i.Name)) // it has changed
	s.k.mu.Unlock()
	s.freed += freed
	s.count++
	about := []any{"kind", string(i.Kind), "name", i.String(), "used", i.Used.Format(time.DateTime), "why", why}
	if freed > 0 {
		about = append(about, "size", size(freed))
	}
	s.k.o.Log.Info("Evicted from the engine's disk", about...)
	if s.k.o.Evicted != nil {
		s.k.o.Evicted(Eviction{Kind: i.Kind, Size: freed})
	}
	return nil
}

// evictImage removes the names under which the runner has pulled the image, and the image if nobody has given
// it another. Jobs that come meanwhile wait.
func (s *sweep) evictImage(ctx context.Context, i Item) (gone bool, err error) {
	k := s.k
	k.mu.Lock()
	entry := k.ledger.data.Images[i.Name]
	if entry == nil {
		k.mu.Unlock()
		return false, nil
	}
	names := slices.Clone(entry.Refs)
	k.mu.Unlock()
	image, there, err := s.image(ctx, i.Name)
	if err != nil || !there {
		return false, err
	}
	if len(names) == 0 { // assembled
		names = image.Tags
	}
	defer k.close(newRefs(slices.Concat(names, image.Tags, image.Digests, []string{i.Name})...))()
	inUse, err := k.inUse()
	if err != nil || inUse.holds(image, names) {
		return false, err
	}
	for _, n := range names {
		// A later pull may have given the name to another image.
		if now, err := s.engine.Image(ctx, n); err != nil || now.ID != i.Name {
			continue
		}
		if err := s.engine.DropImage(ctx, n); err != nil {
			return false, err
		}
	}
	image, there, err = s.image(ctx, i.Name)
	if err == nil && there && len(image.Tags) == 0 {
		err = s.engine.DropImage(ctx, i.Name)
	}
	if err != nil {
		return false, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.ledger.data.Images, i.Name) // what others have tagged is theirs
	k.save()
	return true, nil
}

// image looks for an image by its ID.
func (s *sweep) image(ctx context.Context, id string) (engineapi.StoredImage, bool, error) {
	i, err := s.engine.Image(ctx, id)
	if engineapi.IsAbsent(err) {
		return engineapi.StoredImage{}, false, nil
	}
	if err != nil {
		return engineapi.StoredImage{}, false, err
	}
	return engineapi.StoredImage{ID: id, Tags: i.Tags, Digests: i.Digests, Labels: i.Labels}, true, nil
}

// close lets jobs that need one of names wait until open is called.
func (k *Keeper) close(names refs) (open func()) {
	opened := make(chan struct{})
	k.mu.Lock()
	defer k.mu.Unlock()
	k.gate, k.opened = names, opened
	return func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.gate, k.opened = nil, nil
		close(opened)
	}
}

func (s *sweep) evictVolume(ctx context.Context, i Item) (gone bool, err error) {
	release, ok := s.k.o.Lease(i.Name)
	if !ok {
		return false, nil
	}
	defer release()
	if s.touched(i) {
		return false, nil // a job has had it since
	}
	if err := s.engine.DropVolume(ctx, i.Name); err != nil {
		return false, err
	}
	s.k.mu.Lock()
	defer s.k.mu.Unlock()
	delete(s.k.ledger.data.Volumes, i.Name)
	return true, nil
}

// touched reports whether a job has had a volume since it was looked at.
func (s *sweep) touched(i Item) bool {
	s.k.mu.Lock()
	defer s.k.mu.Unlock()
	return s.k.ledger.data.Volumes[i.Name].After(i.Used)
}
