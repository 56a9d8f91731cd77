package container

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"strconv"

	"github.com/moby/moby/api/types/mount"

	"gitlab.com/skerry/skerry/internal/dockeropt"
	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
	"gitlab.com/skerry/skerry/internal/job"
)

// volume is a volume of the job's own, which helper, build and services share.
type volume struct {
	Name   string            `json:"name"` // of the engine's volume, or a directory of its host
	Path   string            `json:"path"`
	Labels map[string]string `json:"labels"`
	// Temporary ones are removed with the environment.
	Temporary bool `json:"temporary,omitempty"`
}

// partVolume is the value of labelPart of volumes that jobs have.
const partVolume = "volume"

// host reports whether the volume is a directory of the engine's host, which the engine makes.
func (v volume) host() bool { return path.IsAbs(v.Name) }

// shelf collects where a job's files are. The paths on it are taken.
type shelf struct {
	o       Options
	ref     executor.Ref
	j       *job.Job
	n       int // of the lease
	volumes []volume
	binds   []string
	sources map[string]string // path in the containers to the entry that put something there
}

// drawVolumes plans the volumes: those of the configuration, then the builds and the cache directory, unless
// they are on one of these already. Source: gitlab-runner executors/docker/internal/volumes/manager.go.
func (e *Executor) drawVolumes(b *blueprint, j *job.Job, n int) error {
	s := &shelf{o: e.o, ref: b.Ref, j: j, n: n, sources: map[string]string{}}
	for p := range e.o.Build.Tmpfs {
		if p = path.Clean(p); dockeropt.Within(e.o.BuildsDir, p) {
			return fmt.Errorf("tmpfs %q hides the builds directory %s, which several containers share: leave it out, or set another builds_dir", p, e.o.BuildsDir)
		}
		s.sources[p] = "tmpfs"
	}
	for _, text := range e.o.Volumes {
		if err := s.add(text); err != nil {
			return err
		}
	}
	if !s.holds(e.o.BuildsDir) {
		s.own(e.o.BuildsDir, e.o.DisableCache || afresh(j))
	}
	if !s.holds(e.o.CacheDir) {
		s.own(e.o.CacheDir, e.o.DisableCache)
	}
	b.Volumes, b.Binds = s.volumes, s.binds
	return nil
}

// add puts an entry of volumes on the shelf.
func (s *shelf) add(text string) error {
	bad := func(err error) error {
		return &executor.Failure{Reason: job.ReasonConfiguration, Err: fmt.Errorf("volumes in [runners.docker]: %w", err)}
	}
	v, err := dockeropt.ParseVolume(text)
	if err != nil {
		return bad(err)
	}
	expand := func(t string) string { return s.j.Variables.ExpandString(t, func(string) string { return "" }) }
	p, err := v.Place(expand, variable(s.j, "CI_PROJECT_DIR"))
	if err != nil {
		return bad(err)
	}
	if other, taken := s.sources[p]; taken {
		return bad(fmt.Errorf("%q and %q both mean %s in the container: remove one of them", other, text, p))
	}
	s.sources[p] = text
	if v.Source == "" {
		s.own(p, s.o.DisableCache)
		return nil
	}
	bind := v.Source + ":" + p
	if v.Mode != "" {
		bind += ":" + v.Mode
	}
	s.binds = append(s.binds, bind)
	return nil
}

// afresh reports whether the job has asked for sources that begin with nothing: then nothing of an earlier job is in
// its builds directory, also where nobody empties it.
func afresh(j *job.Job) bool {
	switch variable(j, "GIT_STRATEGY") {
	case "clone", "none", "empty":
		return true
	}
	return false
}

// own gives the job a volume at p: that of earlier jobs of the project, or a new one for it alone.
func (s *shelf) own(p string, alone bool) {
	s.sources[p] = p
	labels := map[string]string{labelOwner: string(s.ref.Owner), labelPart: partVolume}
	name := volumeName(s.ref.Owner, s.o.Scope, s.j, p, s.n)
	switch {
	case alone:
		sum := sha256.Sum256([]byte(p))
		labels = ownLabels(s.ref, partVolume)
		name = containerName(s.ref, "volume-"+hex.EncodeToString(sum[:4]))
	case s.o.HostCacheDir != "":
		name = path.Join(s.o.HostCacheDir, name)
	}
	s.volumes = append(s.volumes, volume{Name: name, Path: p, Labels: labels, Temporary: alone})
}

// holds reports whether something on the shelf is mounted at p, or a directory of the host or a volume with a
// name above it.
func (s *shelf) holds(p string) bool {
	if _, ok := s.sources[p]; ok {
		return true
	}
	for dir, text := range s.sources {
		if v, err := dockeropt.ParseVolume(text); err == nil && v.Source != "" && dockeropt.Within(p, dir) {
			return true
		}
	}
	return false
}

// makeVolumes makes the engine's volumes that are not there yet.
func (v *environment) makeVolumes(ctx context.Context) error {
	ctx, cancel := whole(ctx)
	defer cancel()
	v.e.space(v.b.Ref.Owner).Volumes(v.b.volumes()...)
	var errs []error
	for _, vol := range v.b.Volumes {
		if !vol.host() {
			errs = append(errs, v.engine.VolumeWith(ctx, engineapi.VolumeOptions{
				Name: vol.Name, Labels: vol.Labels, Driver: v.e.o.VolumeDriver, DriverOpts: v.e.o.VolumeDriverOps,
			}))
		}
	}
	return errors.Join(errs...)
}

// removeVolumes removes those that no other job uses again; their containers are gone.
func (v *environment) removeVolumes(ctx context.Context) error {
	var errs []error
	for _, vol := range v.b.Volumes {
		if vol.Temporary {
			errs = append(errs, v.engine.RemoveVolume(ctx, vol.Name))
		}
	}
	return errors.Join(errs...)
}

// files is what the job's containers share of files.
func (b *blueprint) files() (binds []string, mounts []mount.Mount) {
	binds = append(binds, b.Binds...)
	for _, vol := range b.Volumes {
		if vol.host() {
			binds = append(binds, vol.Name+":"+vol.Path)
			continue
		}
		mounts = append(mounts, mount.Mount{Type: mount.TypeVolume, Source: vol.Name, Target: vol.Path})
	}
	return binds, mounts
}

// volumeName is that of the volume at path for the n-th job at once of a project. Protected refs have
// volumes of their own: what an unprotected job left is never used by a protected one.
func volumeName(owner executor.OwnerID, scope string, j *job.Job, path string, n int) string {
	sum := sha256.Sum256([]byte(path))
	trust := "open"
	if j.Git.Protected {
		trust = "protected"
	}
	return "skerry-" + string(owner) + "-" + scope + "-project-" + strconv.FormatInt(j.ProjectID, 10) + "-" + trust + "-" +
		hex.EncodeToString(sum[:4]) + "-" + strconv.Itoa(n)
}
