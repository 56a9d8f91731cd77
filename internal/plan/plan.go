package plan

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/job"
)

// defaultTimeout is what a job may take when the coordinator sets no timeout.
// Source: gitlab-runner common/consts.go, DefaultTimeout.
const defaultTimeout = 2 * time.Hour

// Plan is what a job means on this runner. It is immutable after New.
type Plan struct {
	Job     *job.Job
	Runner  Runner
	Slot    Slot
	Version Version

	Timeout   time.Duration // of the whole job
	Layout    Layout
	Flags     map[Flag]bool
	Settings  Settings
	Variables job.Variables // all of them, expanded, in order; the last of a key wins
}

// New makes the plan of j. An error is a *executor.Failure for the job's author: the job asks for
// what this runner does not allow.
func New(j *job.Job, r Runner, slot Slot, v Version) (*Plan, error) {
	p := &Plan{Job: j, Runner: r, Slot: slot, Version: v, Timeout: j.Timeout}
	if p.Timeout <= 0 {
		p.Timeout = defaultTimeout
	}
	// Variables may name directories, and directories depend on variables (GIT_STRATEGY,
	// GIT_CLONE_PATH): resolve with a first layout, then again with the final one.
	p.Layout.Builds = r.BuildsDir
	p.Variables = p.resolve()
	p.Settings = readSettings(j, r, p.Value, p.Timeout)
	flags, warnings := readFlags(r, p.Value)
	p.Flags = flags // also of a job that is refused: they say how its log is made
	if len(j.Unsupported) > 0 {
		return p, &executor.Failure{Reason: job.ReasonUnsupported,
			Err: fmt.Errorf("this runner cannot run the job: %s", strings.Join(j.Unsupported, "; "))}
	}
	layout, err := newLayout(j, r, slot, p.Settings.GitStrategy, p.Expand(p.Settings.GitClonePath))
	if err != nil {
		return p, &executor.Failure{Reason: job.ReasonConfiguration, Err: err}
	}
	p.Layout = layout
	p.Variables = p.resolve()
	p.Settings = readSettings(j, r, p.Value, p.Timeout)
	p.Settings.Warnings = append(p.Settings.Warnings, warnings...)
	if slices.Contains(p.Settings.SubmodulePaths, ":(exclude)") {
		return p, &executor.Failure{Reason: job.ReasonConfiguration,
			Err: fmt.Errorf("GIT_SUBMODULE_PATHS %q names nothing to exclude: write :(exclude)PATH without a space", p.Value("GIT_SUBMODULE_PATHS"))}
	}
	return p, nil
}

// Flag reports whether a feature flag is on.
func (p *Plan) Flag(f Flag) bool { return p.Flags[f] }

// Resolved is the job as an executor needs it: all variables in order, expanded, and the names of image
// and services with them. The caller must not change what it shares with p.Job.
func (p *Plan) Resolved() *job.Job {
	j := *p.Job
	j.Variables, j.Slot = p.Variables, p.Slot.Concurrent
	if j.Image != nil {
		image := *j.Image
		image.Name = p.Expand(image.Name)
		image.User, image.Platform = p.Expand(image.User), p.Expand(image.Platform)
		j.Image = &image
	}
	j.Services = make([]job.Image, len(p.Job.Services))
	for i, s := range p.Job.Services {
		s.Name, s.Alias = p.Expand(s.Name), p.Expand(s.Alias)
		s.User, s.Platform = p.Expand(s.User), p.Expand(s.Platform)
		j.Services[i] = s
	}
	return &j
}
