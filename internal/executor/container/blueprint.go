package container

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"

	"gitlab.com/skerry/skerry/internal/agent"
	"gitlab.com/skerry/skerry/internal/dockeropt"
	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/container/carrier"
	"gitlab.com/skerry/skerry/internal/executor/container/images"
	"gitlab.com/skerry/skerry/internal/executor/container/slot"
	"gitlab.com/skerry/skerry/internal/job"
)

const fileBlueprint = "env.json"

// blueprint is all that has to be known to make an environment, to go on making it and to remove it.
// It may hold secrets: the job's variables.
//
// What draw wrote into it stays. The steps add what they find out, by note: which image a part has, the slot and
// the agent's way; the latter two are read by steps that wait for the one which wrote them. The images of build
// and services belong to the one step that makes these; the helper's is read and found again by several: helperImage.
type blueprint struct {
	Ref      executor.Ref  `json:"ref"`
	Network  string        `json:"network,omitempty"` // the mode that the runner's configuration names; empty: a slot
	Slot     string        `json:"slot,omitempty"`    // the name of the slot that the job has
	Agent    *carrier.Way  `json:"agent,omitempty"`   // how the agent comes and is reached; nil: not decided
	Helper   part          `json:"helper"`
	OwnTools bool          `json:"own_tools,omitempty"` // the configuration names no helper image: it is found or made
	Build    part          `json:"build"`
	Services []servicePart `json:"services,omitempty"`
	Volumes  []volume      `json:"volumes,omitempty"`
	Binds    []string      `json:"binds,omitempty"`    // directories and volumes that the configuration names
	Init     bool          `json:"init,omitempty"`     // a first process that reaps, see flagInit
	Owned    bool          `json:"owned,omitempty"`    // the project is given to the job's user, see flagUmask
	Warnings []string      `json:"warnings,omitempty"` // for the job's author
	Access   images.Access `json:"access"`             // to images
	Nix      *nixPart      `json:"nix,omitempty"`      // nil: the job has nothing of it
	Nested   *nestedPart   `json:"nested,omitempty"`   // the job's own engine; nil: it has none
	Shared   *sharedPart   `json:"shared,omitempty"`   // the engine that it shares with other jobs; nil: none

	Cgroup        string `json:"cgroup,omitempty"` // the control group of the job's slot; "": what the limits say
	ServiceCgroup string `json:"service_cgroup,omitempty"`

	mu sync.Mutex // of those who write it down while steps go on

	fresh bool // nothing of it can have been made before
}

// part is one container to be.
type part struct {
	Name       string            `json:"name"`
	Image      string            `json:"image"`
	ImageID    string            `json:"image_id,omitempty"` // what the name meant, once it is known
	Policies   []string          `json:"policies,omitempty"` // pull policies in force, tried in order
	Platform   string            `json:"platform,omitempty"`
	User       string            `json:"user,omitempty"`
	Entrypoint []string          `json:"entrypoint,omitempty"` // the job's; nil: the image's
	Env        []string          `json:"env,omitempty"`        // what the entrypoint sees beside the image's
	Labels     map[string]string `json:"labels"`

	Unprivileged bool `json:"unprivileged,omitempty"` // whatever the limits say
}

type servicePart struct {
	part

	Title   string   `json:"title"`   // for people: "postgres:16"
	Aliases []string `json:"aliases"` // host names
	Command []string `json:"command,omitempty"`
}

// draw makes the blueprint of a job. Its errors are *executor.Failure where the job is at fault.
func (e *Executor) draw(ctx context.Context, ref executor.Ref, j *job.Job) (*blueprint, error) {
	b := &blueprint{
		Ref: ref, fresh: true, Init: e.flag(j, flagInit), Owned: e.flag(j, flagUmask),
		Cgroup: slotCgroup(e.o.SlotCgroup, j.Slot), ServiceCgroup: slotCgroup(e.o.ServiceSlotCgroup, j.Slot),
	}
	network, err := dockeropt.NetworkMode(e.o.NetworkMode)
	if err != nil {
		return nil, fmt.Errorf("network_mode in [runners.docker]: %w", err)
	}
	b.Network = network.Mode
	image, entrypoint, user, platform := e.expand(j, e.o.Image), []string(nil), e.o.User, ""
	var policies []string
	if j.Image != nil && j.Image.Name != "" {
		image, entrypoint, platform, policies = j.Image.Name, j.Image.Entrypoint, j.Image.Platform, j.Image.PullPolicies
		if user == "" {
			user = j.Image.User // the runner's own comes first, as with GitLab Runner
		}
	}
	if image == "" {
		return nil, &executor.Failure{Reason: job.ReasonConfiguration, Err: errors.New(
			"no image: the job names none (`image:` in .gitlab-ci.yml), and the runner has no default (`image` in [runners.docker])")}
	}
	if e.o.EntrypointIsKept {
		entrypoint = nil
	}
	b.Build = part{
		Name: containerName(ref, "build"), Image: image, Policies: policies, Platform: platform, User: user,
		Entrypoint: entrypoint, Env: environ(j, j.Variables), Labels: labels(ref, j, "build", e.o.Labels),
	}
	b.Helper = part{Name: containerName(ref, "helper"), Image: e.expand(j, e.o.HelperImage), Labels: labels(ref, j, "helper", e.o.Labels)}
	if b.Services, b.Warnings, err = e.drawServices(ref, j); err != nil {
		return nil, err
	}
	if len(b.Services) > slot.MaxServices && b.Network == "" {
		return nil, misconfigured("the job has %d services, and a network of a job has room for %d", len(b.Services), slot.MaxServices)
	}
	if err := errors.Join(e.rule(b, j), e.drawNix(b, j), e.drawNested(b, j)); err != nil {
		return nil, err
	}
	n, err := e.lease(ctx, ref, j)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(e.drawVolumes(b, j, n), b.checkNested()); err != nil {
		return nil, errors.Join(err, e.vacate(ref))
	}
	return b, nil
}

// Feature flags that say how containers are made. Source: docs.gitlab.com/runner/configuration/feature-flags.
const (
	flagInit  = "FF_USE_INIT_WITH_DOCKER_EXECUTOR"
	flagUmask = "FF_DISABLE_UMASK_FOR_DOCKER_EXECUTOR"
)

// flag reports whether a feature flag is on: the runner's setting, else the job's variable.
func (e *Executor) flag(j *job.Job, name string) bool {
	if on, ok := e.o.Flags[name]; ok {
		return on
	}
	on, _ := strconv.ParseBool(variable(j, name))
	return on
}

// config is that of a place's agent. The job's user may be any, so that the helper opens the volumes to everybody,
// and makes files that everybody may change unless they are given to that user.
func (v *environment) config(place executor.Place) agent.Config {
	c := agent.Config{Shared: true}
	v.nixConfig(&c, place)
	if place == executor.Build {
		c.Announce = true
		v.nestedConfig(&c)
		return c
	}
	if !v.b.Owned {
		c.Umask = v.e.o.Umask
	}
	for _, vol := range v.b.Volumes {
		if !vol.host() { // what is the host's is its operator's
			c.Open = append(c.Open, vol.Path)
		}
	}
	return c
}

// write makes the environment's directory, which appears with the record in it: so that nothing exists without it.
func (b *blueprint) write(dir string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.writeLocked(dir)
}

// helperImage is the image of the helper place as it is known now: its id or, before that is known, its name.
func (b *blueprint) helperImage() string {
	helper := b.now(&b.Helper)
	return cmp.Or(helper.ImageID, helper.Image)
}

// now is a part as it is known now, while other steps may find its image.
func (b *blueprint) now(p *part) part {
	b.mu.Lock()
	defer b.mu.Unlock()
	return *p
}

// note changes the blueprint and writes it down, while other steps may do so, too.
func (b *blueprint) note(dir string, change func()) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	change()
	return b.writeLocked(dir)
}

func (b *blueprint) writeLocked(dir string) error {
	in := dir
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		in = unfinished(dir)
	}
	err := os.MkdirAll(in, 0o700)
	var raw []byte
	if err == nil {
		raw, err = b.encode()
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(in, fileBlueprint+".new"), raw, 0o600)
	}
	if err == nil {
		err = os.Rename(filepath.Join(in, fileBlueprint+".new"), filepath.Join(in, fileBlueprint))
	}
	if err == nil && in != dir {
		err = os.Rename(in, dir)
	}
	if err != nil {
		return fmt.Errorf("record the job's environment: %w", err)
	}
	return nil
}

const unfinishedPrefix = ".new-"

// unfinished is the directory that becomes dir when it has its record.
func unfinished(dir string) string {
	return filepath.Join(filepath.Dir(dir), unfinishedPrefix+filepath.Base(dir))
}

// makePlace makes the directory that is mounted at /.skerry/state of a place: the agent's user there is
// unknown yet, so it is open, in a directory that only the runner can enter.
func makePlace(dir string, c agent.Config) error {
	if err := openDirs(dir, filepath.Join(dir, "sock")); err != nil {
		return err
	}
	config := filepath.Join(dir, agent.ConfigName)
	if _, err := os.Lstat(config); err == nil {
		return nil
	}
	return c.Write(dir)
}

// openDirs makes directories that everybody can write to who can reach them. The job may have been there before: a link that it
// has put in the place of one is not followed.
func openDirs(dirs ...string) error {
	for _, d := range dirs {
		err := os.Mkdir(d, 0o700)
		if err == nil || errors.Is(err, fs.ErrExist) {
			err = openToAll(d)
		}
		if err != nil {
			return fmt.Errorf("make the directory of a place: %w", err)
		}
	}
	return nil
}

func openToAll(dir string) error {
	d, err := os.OpenFile(dir, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	return errors.Join(d.Chmod(0o777|fs.ModeSticky), d.Close())
}
