package container

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/container/carrier"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
	"gitlab.com/skerry/skerry/internal/job"
)

// byAuthor is a failure that the job's author can mend.
func byAuthor(format string, args ...any) error {
	return &executor.Failure{Reason: job.ReasonConfiguration, Err: fmt.Errorf(format, args...)}
}

// noEntrypoint is what to do about an entrypoint that does not do what a job needs.
const noEntrypoint = "use another image, or leave its entrypoint out in .gitlab-ci.yml: `image: {name: ..., entrypoint: [\"\"]}`"

// notStarted says what an engine's error about making or starting the container of p means. The engines have no
// codes for these: the words are those of runc, crun, Docker and Podman.
func (v *environment) notStarted(p *part, err error) error {
	var failure *executor.Failure
	if err == nil || errors.As(err, &failure) {
		return err
	}
	words := strings.ToLower(err.Error())
	says := func(parts ...string) bool {
		for _, s := range parts {
			if strings.Contains(words, strings.ToLower(s)) {
				return true
			}
		}
		return false
	}
	switch {
	case v.isHostNix(says):
		return noHostNix(err)
	case says("exec format error"):
		return v.wrongArch(p, err)
	case says(carrier.Bin) && says("permission denied"):
		return fmt.Errorf("the engine may not run the runner's program in containers: is the file system of the state directory mounted noexec, "+
			"or does a security policy forbid it? Set another directory with --state-dir: %w", err)
	case says("unable to find user", "no matching entries in passwd", "unable to find group", "no matching entries in group"):
		return byAuthor("the image %s has no user %q: name one that it has, or a number: %w", p.Image, p.User, err)
	case len(v.entry()) > 0 && says("executable file not found", "no such file or directory", "permission denied", "is a directory"):
		return byAuthor("the entrypoint %q of the image %s could not be started: %s: %w", v.entry(), p.Image, noEntrypoint, err)
	}
	return err
}

func (v *environment) wrongArch(p *part, err error) error {
	return byAuthor("the image %s is made for another kind of processor than this machine's (linux/%s): name an image for it, or a `platform` "+
		"that the image and this machine have: %w", p.Image, v.engine.Arch, err)
}

// ended says how the container of a place that does not run any more ended; said are its last words.
func (v *environment) ended(place executor.Place, p *part, s engineapi.State, said string) error {
	if s.Unseen {
		return fmt.Errorf("the %s container was ended together with its engine, by a restart of the machine or of the container that both were in", place)
	}
	words := ""
	if said = strings.TrimSpace(said); said != "" {
		words = "; its last words: " + said
	}
	if s.Error != "" {
		words = ": " + s.Error + words
	}
	err := fmt.Errorf("the %s container ended with exit code %d%s", place, s.ExitCode, words)
	if place != executor.Build || v.answered.Load() {
		return err
	}
	if strings.Contains(words, "exec format error") {
		return v.wrongArch(p, err)
	}
	if len(v.entry()) == 0 {
		return err
	}
	return byAuthor("the entrypoint %q of the image %s ended without running the job's shell, which it was given as its arguments (sh -c ...): %s: %w",
		v.entry(), p.Image, noEntrypoint, err)
}

// entry is the build image's entrypoint; empty when it has none or it is not known yet.
func (v *environment) entry() []string {
	if e := v.entrypoint.Load(); e != nil {
		return *e
	}
	return nil
}

// slowEntrypoint is how long an entrypoint may take before the job's log says what is being waited for.
const slowEntrypoint = 30 * time.Second

func (v *environment) tellSlow() {
	if len(v.entry()) > 0 {
		fmt.Fprintf(v.out, "Still waiting for the entrypoint %q of the image to run the job's shell, which it was given as its arguments. If it never does: %s.\n",
			v.entry(), noEntrypoint)
	}
}
