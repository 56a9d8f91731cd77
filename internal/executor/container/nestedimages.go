package container

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
	"gitlab.com/skerry/skerry/internal/executor/container/generations"
	"gitlab.com/skerry/skerry/internal/job"
	"gitlab.com/skerry/skerry/internal/nixstore/domain"
)

// Images of jobs' own engines for later jobs of the same trust domain. They are in volumes that are filled once, by the runner after a
// job has succeeded, and never written to again: generations. A record names the generation that the next job of a domain has; what no record
// and no job names is removed.

// partImages is the value of labelPart of a generation.
const partImages = "nested-images"

// nestedImages is where an engine has the generation.
const nestedImages = "/.skerry/images"

// imagesName begins the names of generations of an owner.
func imagesName(owner executor.OwnerID) string { return "skerry-" + string(owner) + "-images-" }

// drawImages plans whose images the job's own engine is offered, and who is offered its.
func (e *Executor) drawImages(b *blueprint, j *job.Job) error {
	if e.o.Nested.Images == "" {
		return nil
	}
	d, err := domain.Of(e.o.Nested.Images, domain.Subject{
		Owner: string(b.Ref.Owner), Scope: e.o.Scope, Project: j.ProjectID, Protected: j.Git.Protected, Ref: b.Ref.ID,
	})
	if err != nil {
		return fmt.Errorf("nested_images in [runners.docker]: %w", err)
	}
	b.Nested.Domain = imagesName(b.Ref.Owner) + strings.TrimPrefix(d.Name, "skerry-"+string(b.Ref.Owner)+"-nix-")
	return nil
}

// chooseImages decides which generation the job's engine has, once: the record of the environment says so from then on, and it stays.
func (v *environment) chooseImages(ctx context.Context) error {
	n := v.b.Nested
	if n.Domain == "" || v.remote() { // the engines that copy images are asked by sockets in directories
		return nil
	}
	if err := v.pickImages(); err != nil || n.Images == "" {
		return err
	}
	_, err := v.engine.VolumeLabels(ctx, n.Images)
	if engineapi.IsAbsent(err) { // somebody has removed it: the engine outside would make an empty one
		return v.unpickImages()
	}
	if err == nil {
		v.e.space(v.b.Ref.Owner).Volumes(n.Images)
	}
	return err
}

// pickImages records the generation that is offered now. The engine is not asked for anything meanwhile.
func (v *environment) pickImages() error {
	v.e.host.images.Lock()
	defer v.e.host.images.Unlock()
	if v.b.Nested.Images != "" {
		return nil
	}
	g, err := v.e.generations().Pick(v.b.Nested.Domain)
	if err != nil || g.Volume == "" {
		return err
	}
	return v.b.note(v.dir, func() { v.b.Nested.Images = g.Volume })
}

// unpickImages takes back what pickImages has recorded, and offers that to nobody else.
func (v *environment) unpickImages() error {
	v.e.host.images.Lock()
	defer v.e.host.images.Unlock()
	gone := v.b.Nested.Images
	return errors.Join(v.b.note(v.dir, func() { v.b.Nested.Images = "" }), v.e.generations().Forget(gone))
}

// offerImages gives the container of the job's own engine the generation that was chosen.
func (n *nestedPart) offerImages(o *client.ContainerCreateOptions) {
	if n.Images == "" {
		return
	}
	o.Config.Env = append(o.Config.Env, "STORAGE_OPTS=overlay.imagestore="+nestedImages+"/storage") // containers-storage.conf(5), additionalimagestores
	o.HostConfig.Mounts = append(o.HostConfig.Mounts, mount.Mount{
		Type: mount.TypeVolume, Source: n.Images, Target: nestedImages, ReadOnly: true, VolumeOptions: &mount.VolumeOptions{NoCopy: true},
	})
}

// generations are the records of what is offered, by this engine.
func (e *Executor) generations() generations.Records {
	return generations.Records{Dir: filepath.Join(e.o.Dir, ".nested-images"), Engine: e.engineKey()}
}

// generationUsed reports whether a job has a generation by its record, and whether it is offered to the next one. One that is neither is nobody's
// for good.
func (e *Executor) generationUsed(volume string) (used, current bool, err error) {
	offered, err := e.generations().Offered(volume)
	if err != nil {
		return false, false, err
	}
	entries, err := os.ReadDir(e.o.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, false, fmt.Errorf("list environments: %w", err)
	}
	for _, entry := range entries {
		if !entry.IsDir() {
			continue
		}
		b, err := readBlueprint(filepath.Join(e.o.Dir, entry.Name()))
		if err != nil && !isLost(err) {
			return false, false, err
		}
		used = used || err == nil && b.Nested != nil && b.Nested.Images == volume
	}
	return used, offered, nil
}

// closeImages removes the generation that the job had, when another one is offered now and no other job has it. The environment's record is gone:
// of two jobs that end at once the last one sees that nobody has it.
func (v *environment) closeImages(ctx context.Context) {
	n := v.b.Nested
	if n == nil || n.Domain == "" {
		return
	}
	var err error
	if !v.fresh { // an earlier process may have left half a generation
		err = v.e.reconcileImages(ctx, v.engine, v.b.Ref.Owner)
	} else if n.Images != "" {
		err = v.e.dropUnused(ctx, v.engine, n.Images)
	}
	if err != nil {
		v.log.Warn("Images that no job is offered any more could not be removed; it is tried again", "domain", n.Domain, "error", err)
	}
}

// dropUnused removes a generation that no job has or is offered, unless a container has it: then it is tried again with the next one.
func (e *Executor) dropUnused(ctx context.Context, engine *engineapi.Engine, volume string) error {
	if used, current, err := e.generationUsed(volume); err != nil || used || current {
		return err
	}
	e.log.Info("Removing images that no job is offered any more", "volume", volume)
	err := engine.DropVolume(ctx, volume)
	if errors.Is(err, engineapi.ErrInUse) {
		return nil
	}
	return err
}

// reconcileImages removes the generations that nobody is offered, nobody has and nobody makes.
func (e *Executor) reconcileImages(ctx context.Context, engine *engineapi.Engine, owner executor.OwnerID) error {
	volumes, err := engine.OwnedVolumes(ctx, labelOwner, string(owner))
	if err != nil {
		return err
	}
	var errs []error
	for _, vol := range volumes {
		if vol.Labels[labelPart] != partImages {
			continue
		}
		_, id := generations.Split(vol.Name)
		if _, made := os.Lstat(filepath.Join(e.o.Dir, id)); made != nil {
			errs = append(errs, e.dropUnused(ctx, engine, vol.Name))
		}
	}
	return errors.Join(errs...)
}

// reserveImages takes a generation from the jobs to come, so that it can be removed; false when a job has it.
func (e *Executor) reserveImages(volume string) (release func(), ok bool) {
	e.host.images.Lock()
	defer e.host.images.Unlock()
	used, current, err := e.generationUsed(volume)
	_, id := generations.Split(volume)
	if _, made := os.Lstat(filepath.Join(e.o.Dir, id)); err != nil || used || made == nil {
		return nil, false
	}
	if current && e.generations().Forget(volume) != nil {
		return nil, false
	}
	return func() {}, true // from now on no job can have it
}
