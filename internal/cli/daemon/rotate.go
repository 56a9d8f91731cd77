package daemon

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"gitlab.com/skerry/skerry/internal/cli/program"
	"gitlab.com/skerry/skerry/internal/config"
	"gitlab.com/skerry/skerry/internal/gitlab"
	"gitlab.com/skerry/skerry/internal/gitlab/runnertoken"
)

// When tokens are replaced. Source of the share: TokenResetIntervalFactor of GitLab Runner.
const (
	rotateAfter    = 0.75 // of a token's life
	minRotateRetry = time.Minute
	maxRotateRetry = time.Hour
	// maxRotateWait bounds every wait: timers stand still while the machine sleeps.
	maxRotateWait = 10 * time.Minute
)

const flagNoRotation = "FF_DISABLE_AUTOMATIC_TOKEN_ROTATION"

// clock is a source of time.
type clock interface {
	Now() time.Time
	// After returns a channel that gets the time once d has passed, and a function that gives it up.
	After(d time.Duration) (<-chan time.Time, func())
}

// realClock is the machine's clock.
type realClock struct{}

func (realClock) Now() time.Time { return time.Now() }

func (realClock) After(d time.Duration) (<-chan time.Time, func()) {
	t := time.NewTimer(d)
	return t.C, func() { t.Stop() }
}

// rotation replaces runners' tokens before they expire. Only run uses it.
type rotation struct {
	d       *Daemon
	log     *slog.Logger
	path    string
	options config.Options
	changed <-chan struct{} // another configuration is in force
	reload  chan<- struct{} // has the configuration read at once

	tries map[string]*try // by digest of address and token
}

// try is what was tried of one token.
type try struct {
	next  time.Time     // not before; far away when nothing is to be tried any more
	delay time.Duration // after the last try
}

func (d *Daemon) newRotation(path string, options config.Options, changed <-chan struct{}, reload chan<- struct{}) *rotation {
	return &rotation{d: d, log: d.log, path: path, options: options, changed: changed, reload: reload, tries: map[string]*try{}}
}

// run replaces tokens, one at a time, until ctx ends.
func (o *rotation) run(ctx context.Context) {
	for {
		now := o.d.clock.Now()
		r, at := o.next()
		wait := maxRotateWait
		if r != nil {
			if !at.After(now) {
				o.rotate(ctx, r)
				continue
			}
			wait = min(wait, at.Sub(now))
		}
		due, giveUp := o.d.clock.After(wait)
		select {
		case <-due:
		case <-o.changed:
		case <-ctx.Done():
			giveUp()
			return
		}
		giveUp()
	}
}

// next is the runner whose token is to be replaced first, and when; nil when no token expires.
func (o *rotation) next() (first *runner, at time.Time) {
	o.d.mu.Lock()
	defer o.d.mu.Unlock()
	for _, r := range o.d.runners {
		due := rotateAt(r.config)
		if due.IsZero() {
			continue
		}
		if t := o.tries[digest(r.config.URL, r.config.Token)]; t != nil && t.next.After(due) {
			due = t.next
		}
		if first == nil || due.Before(at) {
			first, at = r, due
		}
	}
	return first, at
}

// rotateAt is when a runner's token is to be replaced; zero for never. Of a token whose beginning is not
// known it is now.
func rotateAt(r *config.Runner) time.Time {
	if r.TokenExpiresAt.IsZero() {
		return time.Time{}
	}
	if r.TokenObtainedAt.IsZero() || r.TokenObtainedAt.After(r.TokenExpiresAt) {
		return time.Unix(0, 0)
	}
	life := r.TokenExpiresAt.Sub(r.TokenObtainedAt)
	return r.TokenObtainedAt.Add(time.Duration(rotateAfter * float64(life)))
}

// rotate replaces the token of r and has the poller go on with the new one. Jobs do not need the token.
func (o *rotation) rotate(ctx context.Context, r *runner) {
	log := o.log.With("runner", r.config.ShortToken(), "name", r.config.Name, "expires_at", r.config.TokenExpiresAt)
	id := digest(r.config.URL, r.config.Token)
	t := o.tries[id]
	if t == nil {
		t = &try{}
		o.tries[id] = t
	}
	if off, _ := r.config.Feature(flagNoRotation); off {
		log.Warn("The runner's token is about to expire and is not replaced, because " + flagNoRotation + " is set: run reset-token before it does")
		t.next = o.d.clock.Now().AddDate(100, 0, 0)
		return
	}
	reset := func(ctx context.Context) (gitlab.Registered, error) { return r.client.ResetToken(ctx, r.config.Token) }
	token, err := program.ResetToken(ctx, o.path, o.options, reset, r.config, o.d.clock.Now)
	o.d.board.ConfigurationSaved(err)
	var lost *program.LostTokenError
	var unable config.Problem
	switch {
	case err == nil:
		log.Info("The runner has a new token, because the old one was about to expire", "new", runnertoken.Short(token))
		o.d.replaced(r.config, token)
		t.next = o.d.clock.Now().Add(maxRotateRetry) // it stays in force until the file has been read
		poke(o.reload)
	case errors.As(err, &lost):
		o.keep(log, r.config, lost)
	case errors.As(err, &unable):
		log.Error("The runner's token is about to expire and cannot be replaced here", "error", err)
		t.next = o.d.clock.Now().AddDate(100, 0, 0)
	case ctx.Err() != nil:
	default:
		t.delay = min(max(2*t.delay, minRotateRetry), maxRotateRetry)
		t.next = o.d.clock.Now().Add(t.delay)
		log.Error("The runner's token is about to expire and could not be replaced; it is tried again", "again_in", t.delay, "error", err)
	}
}

// replaced has the runner keep its key with another token.
func (d *Daemon) replaced(r *config.Runner, token string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.identities.replaced(r, token)
}

// keep goes on with a token that the configuration could not take, and puts it where it survives this
// process.
func (o *rotation) keep(log *slog.Logger, r *config.Runner, lost *program.LostTokenError) {
	path := filepath.Join(o.d.o.StateDir, "token-"+runnertoken.Short(lost.Token))
	if err := os.WriteFile(path, []byte(lost.Token+"\n"), 0o600); err != nil {
		path = "nowhere: " + err.Error()
	}
	log.Error("The runner's token was replaced in GitLab, but the new one could not be written into the configuration: "+
		"it is used until the runner ends; write it there from the file it was kept in", "kept_in", path, "error", lost.Err)
	o.d.replaced(r, lost.Token)
	o.d.mu.Lock()
	c := *o.d.config
	o.d.mu.Unlock()
	c.Runners = append([]*config.Runner(nil), c.Runners...)
	for i, entry := range c.Runners {
		if entry.URL == r.URL && entry.Token == r.Token {
			with := *entry
			with.Token, with.TokenObtainedAt, with.TokenExpiresAt = lost.Token, o.d.clock.Now(), lost.Expires
			c.Runners[i] = &with
		}
	}
	o.d.set(&c)
}
