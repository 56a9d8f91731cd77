package container

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/container/disk"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
	"gitlab.com/skerry/skerry/internal/executor/container/nixdaemon"
)

// space is what keeps the disk of the executor's engine in order, for all runner entries of an owner.
func (e *Executor) space(owner executor.OwnerID) *disk.Keeper {
	h := e.host
	h.mu.Lock()
	defer h.mu.Unlock()
	key := e.o.Engine.Host + "\x00" + e.o.Dir + "\x00" + string(owner)
	k := h.keepers[key]
	if k == nil {
		address := sha256.Sum256([]byte(e.o.Engine.Host))
		k = disk.New(disk.Options{
			Owner: string(owner), LabelOwner: labelOwner,
			Path:    filepath.Join(e.o.Dir, ".disk", hex.EncodeToString(address[:6])+".json"),
			Engine:  func(ctx context.Context) (*engineapi.Engine, error) { return h.engine(ctx, e.o.Engine) },
			InUse:   e.imagesInUse,
			Lease:   func(volume string) (func(), bool) { return e.reserve(owner, volume) },
			Short:   func(over int64) { e.nixKeeper().Relieve(over) },
			Sizes:   func() map[string]int64 { return e.nixKeeper().Sizes() },
			Caches:  func(volume string) bool { return isVolumeAt(volume, e.o.CacheDir) },
			Evicted: h.Evicted, Used: h.DiskUsed, Log: e.log, Every: h.LookEvery,
		})
		if h.keepers == nil {
			h.keepers = map[string]*disk.Keeper{}
		}
		h.keepers[key] = k
		if h.left {
			k.Close()
		}
	}
	return k
}

// Prune removes from the executor's engine what nothing uses: see disk.Keeper.Prune.
func (e *Executor) Prune(ctx context.Context, owner executor.OwnerID) (disk.Pruned, error) {
	return e.space(owner).Prune(ctx)
}

// imagesInUse are the names of the images that the environments on this machine have been drawn with.
func (e *Executor) imagesInUse() ([]string, error) {
	entries, err := os.ReadDir(e.o.Dir)
	if err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	var names []string
	for _, entry := range entries {
		b, err := readBlueprint(filepath.Join(e.o.Dir, entry.Name()))
		if err != nil {
			continue // not an environment, or it is being removed
		}
		names = append(names, b.images()...)
	}
	r, err := nixdaemon.Remember(e.nixRecord())
	if err != nil {
		e.log.Warn("It is not known which images the Nix daemons have", "error", err)
	}
	return append(names, r.Images...), nil
}

// images are those of all parts, by their names and, where it is known, by what the name meant: it may mean
// another image by now.
func (b *blueprint) images() (names []string) {
	parts := []part{b.Helper, b.Build}
	for _, s := range b.Services {
		parts = append(parts, s.part)
	}
	if b.Nested != nil {
		parts = append(parts, b.Nested.part)
	}
	if b.Shared != nil {
		parts = append(parts, b.Shared.part)
	}
	if b.Nix != nil {
		parts = append(parts, part{Image: b.Nix.Image})
	}
	for _, p := range parts {
		for _, n := range []string{p.Image, p.ImageID} {
			if n != "" {
				names = append(names, n)
			}
		}
	}
	return names
}

// volumeParts takes the name of a volume that jobs use again apart, see volumeName.
var volumeParts = regexp.MustCompile(`^(skerry-.+-project-[0-9]+-(?:open|protected)-)([0-9a-f]{8})(-[0-9]+)$`)

// isVolumeAt reports whether volume is one that jobs have at path.
func isVolumeAt(volume, path string) bool {
	m := volumeParts.FindStringSubmatch(volume)
	return m != nil && m[2] == pathHash(path)
}

func pathHash(path string) string {
	sum := sha256.Sum256([]byte(path))
	return hex.EncodeToString(sum[:4])
}

// reserve takes the lease that a volume is under, so that no job gets it before release is called; false when a
// job has it.
func (e *Executor) reserve(owner executor.OwnerID, volume string) (release func(), ok bool) {
	if strings.HasPrefix(volume, sharedPrefix+string(owner)+"-") {
		return e.reserveShared(owner, volume)
	}
	if strings.HasPrefix(volume, imagesName(owner)) {
		return e.reserveImages(volume)
	}
	m := volumeParts.FindStringSubmatch(volume)
	if m == nil || !strings.HasPrefix(volume, "skerry-"+string(owner)+"-") {
		return nil, false
	}
	ref := executor.NewRef(owner)
	e.host.begun(ref) // or Reconcile would end it
	name := m[1] + pathHash("") + m[3]
	if err := e.take(ref, name); err != nil {
		e.host.ended(ref)
		return nil, false
	}
	return func() {
		defer e.host.ended(ref)
		if err := os.Remove(filepath.Join(e.leases(), name)); err != nil {
			e.log.Warn("A lease of volumes could not be ended; the next start does", "lease", name, "error", err)
		}
	}, true
}

// leave tells that the job does not need anything any more.
func (v *environment) leave() {
	if v.b.Shared != nil {
		v.shared() // it begins to be idle
	}
	space := v.e.space(v.b.Ref.Owner)
	space.Volumes(v.b.volumes()...)
	space.Look()
}

// volumes are the job's volumes that later jobs use again.
func (b *blueprint) volumes() (names []string) {
	for _, vol := range b.Volumes {
		if !vol.host() && !vol.Temporary {
			names = append(names, vol.Name)
		}
	}
	return names
}
