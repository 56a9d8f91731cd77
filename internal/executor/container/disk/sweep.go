package disk

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
)

// sweep is one look at the disk: what is too old goes, then what is too much.
func (k *Keeper) sweep(ctx context.Context, p Policy, free float64) error {
	if !p.limited() && p.VolumeTTL == 0 {
		return nil
	}
	engine, err := k.o.Engine(ctx)
	if err != nil {
		return err
	}
	k.settle(ctx, engine)
	s := &sweep{k: k, engine: engine, policy: p, free: free, now: k.o.Now()}
	if err := s.gather(ctx); err != nil {
		return err
	}
	var errs []error
	for _, i := range expired(s.items, p.VolumeTTL, s.now) {
		errs = append(errs, s.evict(ctx, i, "no job has used it for "+s.now.Sub(i.Used).Round(time.Minute).String()))
	}
	for _, i := range order(s.items) {
		over, err := s.over(ctx)
		if err != nil {
			errs = append(errs, err)
			break
		}
		if over <= 0 || ctx.Err() != nil {
			break
		}
		errs = append(errs, s.evict(ctx, i, fmt.Sprintf("the disk budget is exceeded by %s", size(over))))
	}
	if s.count > 0 {
		k.o.Log.Info("Space was made on the engine's disk", "engine", engine.String(), "things", s.count, "freed", size(s.freed), "left", size(total(s.items)))
	}
	s.free = 0 // the margin is only wished for
	over, err := s.over(ctx)
	short := err == nil && over > 0 && ctx.Err() == nil
	if short && k.o.Short != nil {
		k.o.Short(over)
	}
	if short && s.now.Sub(k.warned) >= warnEvery {
		k.warned = s.now
		k.o.Log.Warn("The disk budget is exceeded, and nothing more may be evicted: the rest is in use, kept by a label, or not the runner's",
			"engine", engine.String(), "over", size(over), "own", size(total(s.items)))
	}
	if k.o.Used != nil {
		k.o.Used(total(s.items))
	}
	return errors.Join(errs...)
}

// settle finds out what came of pulls that an earlier process did not see the end of.
func (k *Keeper) settle(ctx context.Context, engine *engineapi.Engine) {
	now, err := k.inUse()
	if err != nil {
		return
	}
	for ref, before := range k.pulls() {
		if now.has(ref) {
			continue // it may be under way
		}
		image, err := engine.Image(ctx, ref)
		if err != nil && !engineapi.IsAbsent(err) {
			continue
		}
		after := ""
		if err == nil {
			after = image.ID
		}
		k.mu.Lock()
		k.ledger.pulled(ref, before, after, k.o.Now())
		k.dirty = true
		k.mu.Unlock()
	}
}

// sweep is the state of one look.
type sweep struct {
	k      *Keeper
	engine *engineapi.Engine
	policy Policy
	free   float64
	now    time.Time
	items  []Item // what is the runner's, as far as it is still there
	root   string // the engine's directory, for a share of its file system
	freed  int64
	count  int
}

var errRemote = errors.New("it is reached over a network")

// local reports whether the engine's files may be looked at.
func (s *sweep) local() bool { return strings.HasPrefix(s.engine.Address.Host, "unix://") }

// over is by how much the budget is exceeded now.
func (s *sweep) over(ctx context.Context) (int64, error) {
	var fs space
	if s.policy.Percent > 0 {
		err := errRemote
		if s.local() {
			err = nil
			if s.root == "" {
				s.root, err = s.engine.RootDir(ctx)
			}
		}
		if err == nil {
			fs, err = measure(s.root)
		}
		if err != nil {
			return 0, fmt.Errorf("disk_budget is a percentage, which needs an engine on this machine: %w; set it to a size such as \"50GB\"", err)
		}
	}
	return s.policy.over(total(s.items), fs, s.free), nil
}

// gather lists what is the runner's.
func (s *sweep) gather(ctx context.Context) error {
	at := s.k.o.Now()
	images, err := s.engine.StoredImages(ctx)
	if err != nil {
		return err
	}
	volumes, err := s.engine.StoredVolumes(ctx, s.k.o.LabelOwner, s.k.o.Owner)
	if err != nil {
		return err
	}
	s.weigh(ctx, volumes)
	inUse, err := s.k.inUse()
	if err != nil {
		return err
	}
	s.items = append(s.k.images(images, inUse), s.k.volumes(volumes)...)
	if s.policy.limited() && s.local() {
		s.archives(volumes)
	}
	there, has := map[string]bool{}, map[string]bool{}
	for _, i := range images {
		there[i.ID] = true
	}
	for _, v := range volumes {
		has[v.Name] = true
	}
	s.k.mu.Lock()
	defer s.k.mu.Unlock()
	s.k.ledger.keep(there, has, at)
	maps.DeleteFunc(s.k.sizes, func(name string, _ weight) bool { return !has[name] })
	s.k.dirty = true
	return nil
}

// images are the runner's own: those that it has pulled, and its helper images.
func (k *Keeper) images(all []engineapi.StoredImage, inUse refs) (items []Item) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var shared int64
	for _, i := range all {
		entry := k.ledger.data.Images[i.ID]
		if entry == nil || len(entry.Refs) == 0 && i.Labels[labelMade] == "" {
			continue
		}
		shared = max(shared, i.Shared)
		show := i.ID
		if names := slices.Concat(entry.Refs, i.Tags); len(names) > 0 {
			show = names[0]
		}
		items = append(items, Item{
			Kind: Image, Name: i.ID, Show: show, Size: i.Size, Used: entry.Used,
			pinned: keeps(i.Labels) || inUse.holds(i, entry.Refs),
		})
	}
	if shared > 0 { // layers of several images: once, and freed when the last of them goes
		items = append(items, Item{Kind: Image, Name: "shared layers", Size: shared, pinned: true})
	}
	return items
}

// labelMade is on images that Skerry has assembled.
const labelMade = "com.gitlab.skerry.image"

// labelNix is on the volumes of Nix stores. They count; what has to go of them is for others to say. See package nixdaemon.
const labelNix = "com.gitlab.skerry.nix"

func isNix(v engineapi.StoredVolume) bool { return v.Labels[labelNix] != "" }

// labelRef is on the volumes that one job has alone, and what is kept by an engine of its own is in one. They count while the job
// runs, and go with it.
const labelRef = "com.gitlab.skerry.ref"

func isJobs(v engineapi.StoredVolume) bool { return v.Labels[labelRef] != "" }

func (k *Keeper) volumes(all []engineapi.StoredVolume) (items []Item) {
	var sizes map[string]int64
	if k.o.Sizes != nil {
		sizes = k.o.Sizes()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, v := range all {
		used, known := k.ledger.data.Volumes[v.Name]
		if !known {
			if used = v.Created; used.IsZero() {
				used = k.o.Now()
			}
			k.ledger.data.Volumes[v.Name] = used
		}
		item := Item{Kind: Volume, Name: v.Name, Size: k.sizes[v.Name].bytes, Used: used, pinned: keeps(v.Labels) || isNix(v) || isJobs(v)}
		if bytes, known := sizes[v.Name]; known {
			item.Size = bytes
		}
		items = append(items, item)
	}
	return items
}

// size is a number of bytes for people.
func size(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	f, i := float64(n)/unit, 0
	for ; f >= unit && i < 4; i++ {
		f /= unit
	}
	return fmt.Sprintf("%.1f %ciB", f, "KMGTP"[i])
}
