package images

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/moby/moby/client"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
	"gitlab.com/skerry/skerry/internal/job"
)

// Puller brings images. It is safe for concurrent use.
type Puller struct {
	Record   *Record
	Keychain Keychain
	// Backoff is how long the n-th attempt at a pull waits for the next one; nil: two seconds, then four.
	Backoff func(n int) time.Duration
	// Every is how often a pull that takes long tells how far it is; 0: five seconds.
	Every time.Duration

	flights flights
}

const (
	pullAttempts = 3 // as GitLab Runner
	backoff      = 2 * time.Second
	tellEvery    = 5 * time.Second
	proveDigests = 3 // how many of an image's digests are asked for
)

// Request is one image for one job.
type Request struct {
	Name     string
	Policies []string // in force, tried in order, see Rules.Policies
	Platform string   // "linux/arm64"; empty: the engine's own
	Access   Access
	Log      io.Writer // lines for the job's author
	// Pulling is told that the image is about to be pulled, with the ID that its name has so far ("": none), and
	// what it returns the ID afterwards, "" when the pull failed; nil: nobody is.
	Pulling func(name, before string) (done func(after string))
}

// want is a request in hand.
type want struct {
	Request

	ref      Reference
	platform *ocispec.Platform
	login    Login
	engine   *engineapi.Engine
	patient  bool // no other policy could help: a registry that does not answer is tried again

	lines bytes.Buffer // not shown yet, see say
	live  bool
}

// Get returns the image as the engine has it then. An error is an *executor.Failure unless the engine
// itself is the trouble or ctx ended.
func (p *Puller) Get(ctx context.Context, engine *engineapi.Engine, r Request) (*engineapi.Image, error) {
	ref, err := Parse(r.Name)
	if err != nil {
		return nil, &executor.Failure{Reason: job.ReasonConfiguration, Err: err}
	}
	w := &want{Request: r, ref: ref, engine: engine}
	defer w.show()
	if w.platform, err = parsePlatform(r.Platform); err != nil {
		return nil, &executor.Failure{Reason: job.ReasonConfiguration, Err: err}
	}
	if ref.id == "" {
		w.login = p.Keychain.login(ctx, r.Access, ref.Repository(), w.warn)
	}
	w.say("Using effective pull policy of %s for container %s", r.Policies, r.Name)
	var failed error
	for i, policy := range r.Policies {
		if i > 0 {
			w.say("Attempt #%d: Trying %q pull policy", i+1, policy)
		}
		// Podman has tried several times itself.
		w.patient = i == len(r.Policies)-1 && engine.Kind != engineapi.Podman
		image, err := p.try(ctx, w, policy)
		if err == nil {
			w.used(image)
			return image, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		var mine *executor.Failure
		if !errors.As(err, &mine) {
			return nil, err
		}
		w.warn(fmt.Sprintf("Failed to pull image with policy %q: %v", policy, err))
		failed = mine
	}
	return nil, wrap(failed, "failed to pull image %q with specified policies %v", r.Name, r.Policies)
}

// wrap puts words before a failure and keeps its reason.
func wrap(err error, format string, args ...any) error {
	var f *executor.Failure
	reason := job.ReasonImagePull
	if errors.As(err, &f) {
		reason = f.Reason
	}
	return &executor.Failure{Reason: reason, Err: fmt.Errorf(format+": %w", append(args, err)...)}
}

// say keeps the lines of an image together, up to a pull, which is told as it goes on: other images are got beside it.
func (w *want) say(format string, args ...any) {
	fmt.Fprintf(&w.lines, format+"\n", args...)
	if w.live {
		w.show()
	}
}

func (w *want) show() {
	_, _ = w.lines.WriteTo(w.Log) // the log's own trouble is told elsewhere
}

func (w *want) warn(text string) { w.say("\x1b[0;33mWARNING: %s\x1b[0;m", text) }

func (w *want) used(i *engineapi.Image) {
	with := ""
	if d := w.digests(i); len(d) > 0 {
		with = " with digest " + d[0]
	}
	w.say("Using docker image %s for %s%s ...", i.ID, w.Name, with)
	if w.Platform == "" && i.Arch != "" && i.Arch != w.engine.Arch {
		w.warn(fmt.Sprintf("The image %s is made for %s, this machine is %s: its programs run only where the machine emulates that", w.Name, i.Arch, w.engine.Arch))
	}
}

// try does what one policy says.
func (p *Puller) try(ctx context.Context, w *want, policy string) (*engineapi.Image, error) {
	local, err := w.engine.Image(ctx, w.ref.Canonical())
	if err != nil && !engineapi.IsAbsent(err) {
		return nil, err
	}
	before := ""
	if local != nil {
		before = local.ID
	}
	if local != nil && !w.fits(local) {
		local = nil
	}
	mine := local != nil && w.ref.local() && (w.engine.Kind == engineapi.Podman || len(w.digests(local)) == 0)
	switch {
	case mine:
		return local, nil // there is no registry that it could be pulled from
	case w.ref.id != "" || policy == Never:
		if local == nil {
			return nil, w.absent(policy)
		}
		return local, p.permit(ctx, w, local)
	case policy == IfNotPresent && local != nil:
		err := p.permit(ctx, w, local)
		if err == nil {
			w.say("Using locally found image version due to %q pull policy", policy)
			return local, nil
		}
		if ctx.Err() != nil || engineapi.IsUnreachable(err) {
			return nil, err
		}
		w.say("The image %s is present, but this job has not been shown to have access to it: it is pulled", w.Name)
	case w.ref.local() && w.engine.Kind == engineapi.Podman:
		return nil, w.absent(policy)
	}
	if w.Pulling == nil {
		return p.pull(ctx, w)
	}
	done := w.Pulling(w.ref.Canonical(), before)
	image, err := p.pull(ctx, w)
	after := ""
	if err == nil {
		after = image.ID
	}
	done(after)
	return image, err
}

// absent says that an image that cannot be pulled is not there.
func (w *want) absent(policy string) error {
	hint := ""
	if w.engine.Kind == engineapi.Podman && w.ref.host == dockerHub {
		hint = "; an image that was built here with Podman is named " + localHost + "/…"
	}
	why := fmt.Sprintf("pull policy %q", policy)
	if policy != Never {
		why = "an image of this name cannot be pulled"
	}
	return &executor.Failure{Reason: job.ReasonConfiguration, Err: fmt.Errorf("no such image on this machine: %s (%s%s)", w.ref.Canonical(), why, hint)}
}

// fits reports whether an image that is present is of the wanted platform.
func (w *want) fits(i *engineapi.Image) bool {
	return w.platform == nil || i.Arch == "" || i.Arch == w.platform.Architecture && (i.OS == "" || i.OS == w.platform.OS)
}

// digests are those under which the engine knows i in the wanted repository.
func (w *want) digests(i *engineapi.Image) []string {
	var out []string
	for _, d := range i.Digests {
		repo, digest, ok := strings.Cut(d, "@")
		if r, err := Parse(repo); ok && err == nil && w.ref.id == "" && r.Repository() == w.ref.Repository() {
			out = append(out, w.ref.atDigest(digest))
		}
	}
	return out
}

// pull brings the image and remembers who could.
func (p *Puller) pull(ctx context.Context, w *want) (*engineapi.Image, error) {
	w.live = true
	if !w.login.empty() {
		w.say("Authenticating with credentials from %s", w.login.Source)
	}
	platform := ""
	if w.platform != nil {
		platform = " for platform " + w.Platform
	}
	w.say("Pulling docker image %s%s ...", w.Name, platform)
	// What is present has not been asked for: Docker takes an image that it knows by its digest for
	// pulled, whoever asks.
	if w.ref.digest != "" && w.engine.Kind != engineapi.Podman {
		if err := w.reads(ctx, w.ref.Canonical(), w.login, proveTimeout); err != nil {
			return nil, w.failure(ctx, err)
		}
	}
	for attempt := 1; ; attempt++ {
		err := p.pullOnce(ctx, w)
		if err == nil {
			break
		}
		if t := judge(err); ctx.Err() != nil || engineapi.IsUnreachable(err) || !w.patient || attempt == pullAttempts || t != unreachable {
			return nil, w.failure(ctx, err)
		}
		w.warn(fmt.Sprintf("Failed to pull image %q (attempt #%d), retrying: %v", w.Name, attempt, err))
		if !p.pause(ctx, attempt) {
			return nil, context.Cause(ctx)
		}
	}
	image, err := w.engine.Image(ctx, w.ref.Canonical())
	if err != nil {
		if engineapi.IsAbsent(err) {
			err = &executor.Failure{Reason: job.ReasonImagePull, Err: fmt.Errorf("the image is gone right after its pull: %w", err)}
		}
		return nil, err
	}
	if !w.fits(image) {
		return nil, failure(w.ref, w.login, w.Platform, fmt.Errorf("no matching manifest for %s: the image is made for %s/%s", w.Platform, image.OS, image.Arch))
	}
	return image, p.Record.add(image.ID, w.holder(w.login))
}

func (w *want) failure(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case engineapi.IsUnreachable(err):
		return err
	}
	platform := w.Platform
	if platform == "" {
		platform = "linux/" + w.engine.Arch
	}
	return failure(w.ref, w.login, platform, err)
}

func (p *Puller) pause(ctx context.Context, attempt int) bool {
	d := backoff * time.Duration(attempt)
	if p.Backoff != nil {
		d = p.Backoff(attempt)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// pullOnce pulls, together with whoever else wants the same, and tells how far it is.
func (p *Puller) pullOnce(ctx context.Context, w *want) error {
	auth := w.login.header()
	o := client.ImagePullOptions{}
	if w.platform != nil {
		o.Platforms = []ocispec.Platform{*w.platform}
	}
	key := strings.Join([]string{fmt.Sprint(w.engine.Address), w.ref.Canonical(), w.Platform, auth}, "\x00")
	one, leave := p.flights.join(ctx, key, func(ctx context.Context, t *tally) error {
		return w.engine.Pull(ctx, w.ref.Canonical(), auth, o, t.add)
	})
	defer leave()
	every := p.Every
	if every == 0 {
		every = tellEvery
	}
	began, last := time.Now(), ""
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-one.done:
			if n := one.tally.fetched(); one.err == nil && last != "" && n > 0 {
				w.say("Pulled docker image %s: %s in %s", w.Name, size(n), time.Since(began).Round(time.Second))
			}
			return one.err
		case <-tick.C:
			if now := one.tally.String(); now != last {
				w.say("Pulling docker image %s ... %s", w.Name, now)
				last = now
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
