// Package poll asks coordinators for jobs: which runner may ask when, with how many requests at
// once, and what each answer means for the next one.
//
// # Slots
//
// A slot is the right to run one job. A request holds one from the moment it is sent, so a job that
// arrives always has a place; with no job the slot goes to the runner that has waited longest.
// Concurrent bounds all slots of the process, Limit those of one runner, and jobs that were
// adopted at the start hold slots like all others. A job that only waits for its coordinator to take its
// result can be parked, which gives its slot to others.
//
// # Long polling
//
// A coordinator holds a request that carries its last_update until there is something new, which
// would keep a slot from every other runner for most of a minute. So the last free slot is never
// asked with last_update while another runner has no request open: it is answered at once and goes
// round among them, once per CheckInterval each. When jobs have taken all slots but those of held
// requests, the held request of the runner whose last job is longest ago is given up, because a
// runner waits. Giving up a request can lose a job that the coordinator is assigning at
// that moment (it hands it out again after two minutes), so that is done only then.
//
// # Pace
//
// After a job the runner asks again at once, and after a job ended too. A held request is followed by
// the next at once, and so is one whose answer shows a change, for some time; one that was answered
// within a second although nothing had changed shows a coordinator without long polling, and the
// next follows after CheckInterval. A held request that a proxy has cut off, since it does not wait as long as
// the coordinator holds requests, is no error: the next follows at once and is not held. Errors back off from one
// second to one minute with jitter, and Retry-After is honoured up to an hour. After UnhealthyLimit
// refusals (403) in a row a runner rests for UnhealthyInterval.
//
// # Load
//
// With Options.Load set, a machine that has jobs and is short of processor time asks a little later,
// so that other managers of the same runner are faster: nothing up to a load of one half, then
// rising to 300 ms. It delays asking and never refuses; the limits are what bounds the work.
package poll

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"
)

// The defaults and bounds of the pace. Source: docs/configuration/advanced-configuration.md of
// GitLab Runner for those that have a setting.
const (
	defaultCheckInterval     = 3 * time.Second
	defaultUnhealthyLimit    = 3
	defaultUnhealthyInterval = time.Hour

	heldAfter     = time.Second            // an answer after so long was held by the coordinator
	patience      = 10 * time.Second       // of gateways: one that has ended a held request sooner had another reason
	maxQuick      = 8                      // requests that may follow quick answers at once
	freshAfter    = 5 * time.Minute        // so often a request goes without last_update in any case
	cutAfter      = time.Second            // a runner waits so long before a held request is given up for it
	answerGrace   = 5 * time.Second        // for the answer to a request that is not held, when polling stops
	minBackoff    = time.Second            // after the first error
	maxBackoff    = time.Minute            // after many
	maxRetryAfter = time.Hour              // a coordinator that asks for more is asked again then
	minConflict   = 50 * time.Millisecond  // after a 409
	maxLoadDelay  = 300 * time.Millisecond // under full load
	loadThreshold = 0.5                    // from here on asking is delayed
)

// Runner is one entry to ask for, as Set gets it.
type Runner struct {
	Key   string // identity over reloads (of URL and token); unique
	Short string // what of the token may be shown: "runner" in the log, as everywhere
	Name  string // for people

	Limit               int           // jobs at once; 0 means that only Concurrent bounds them
	RequestConcurrency  int           // requests at once; less than 1 means 1; more than one only while jobs keep coming
	StrictCheckInterval bool          // wait CheckInterval after a job too
	UnhealthyLimit      int           // less than 1 means 3
	UnhealthyInterval   time.Duration // 0 means 1 h

	// Request asks once, without retries. It may be called concurrently. Without lastUpdate the
	// coordinator answers at once. It must return soon after ctx ends; ctx carries a trace for net/http
	// and does not end while an answer is being received, since a 201 is the coordinator's
	// word that the job is ours. A Status counts whether there is an error beside it or not, and
	// an answer with a payload counts whether ctx has ended or not.
	Request func(ctx context.Context, lastUpdate string) (Answer, error)
}

// Answer is what a coordinator answered to a request for a job.
type Answer struct {
	Status     int           // of HTTP: 201 a job, 204 none, 403, 409, 429, 5xx …
	Payload    []byte        // of a 201
	LastUpdate string        // header X-GitLab-Last-Update
	RetryAfter time.Duration // header Retry-After; 0 without
}

// Handler gets a job, in a goroutine of its own. The payload is its own too. ctx is Run's, and may
// have ended already: the job is the runner's all the same and must be recorded or given back.
// The slot is held until Release or until the Handler returns.
type Handler func(ctx context.Context, runner string, payload []byte, slot *Slot)

// Observer hears what the poller does, for metrics. Its methods are called concurrently and must not block.
type Observer interface {
	// Asked says that a request is sent, Answered that it is over: status is 0 without an answer, ok
	// is false after an error or a refusal.
	Asked(runner string)
	Answered(runner string, status int, took time.Duration, ok bool)
	// Refused says that the coordinator answered 403.
	Refused(runner string)
	// SlotChanged says that a job takes a slot or leaves it.
	SlotChanged(runner string, held bool)
}

// Options are what a Poller needs for its whole life.
type Options struct {
	Handle   Handler
	Logger   *slog.Logger   // nil discards
	Observer Observer       // nil: nobody listens
	Load     func() float64 // share of time, 0 to 1, that work waits for the processor, see HostLoad; nil: no delay
	Jitter   func() float64 // 0 to 1, random; nil means math/rand
}

// Settings are what a reload of the configuration can change.
type Settings struct {
	Concurrent    int           // slots of the process; less than 1 means 1
	CheckInterval time.Duration // 0 means 3 s
	Runners       []Runner
}

// Poller asks for jobs. All methods may be called concurrently.
type Poller struct {
	handle   Handler
	log      *slog.Logger
	observer Observer
	load     func() float64
	jitter   func() float64
	numbers  Numbers

	wake    chan struct{} // something happened that the scheduler should look at
	drained chan struct{} // closed when Run asks no more and no request is open
	work    sync.WaitGroup

	mu         sync.Mutex
	concurrent int
	interval   time.Duration
	runners    []*runner // in the order of their first Set, those that are leaving included
	used       int       // slots held: open requests and jobs
	parked     int       // jobs that have let their slot go
	ticket     uint64
	draining   bool
}

// New returns a Poller that asks nobody until Set has named runners and Run runs.
func New(opts Options) *Poller {
	p := &Poller{
		handle: opts.Handle, log: opts.Logger, observer: opts.Observer, load: opts.Load, jitter: opts.Jitter,
		wake: make(chan struct{}, 1), drained: make(chan struct{}), concurrent: 1, interval: defaultCheckInterval,
	}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	if p.observer == nil {
		p.observer = silent{}
	}
	if p.load == nil {
		p.load = func() float64 { return 0 }
	}
	if p.jitter == nil {
		p.jitter = rand.Float64
	}
	return p
}

// Run asks until ctx ends or Drain is called, and returns when no request is open any more and
// every Handler has returned. It is called once.
func (p *Poller) Run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	ended := ctx.Done()
	for {
		wait, over := p.turn(ctx)
		if over {
			break
		}
		timer.Reset(wait)
		select {
		case <-p.wake:
		case <-timer.C:
		case <-ended:
			p.Drain()
			ended = nil
		}
	}
	close(p.drained)
	p.work.Wait()
}

// Drained is closed when Run asks no more and no request is open: from then on no job arrives. Handlers
// may still be at work.
func (p *Poller) Drained() <-chan struct{} { return p.drained }

// Drain stops asking for good. Requests that are open are given up, those that the coordinator is
// probably answering within a few seconds; a job that arrives nevertheless is handled. Drain does not wait: Run returns.
func (p *Poller) Drain() {
	p.mu.Lock()
	p.draining = true
	p.mu.Unlock()
	p.poke()
}

// Set replaces the settings. Jobs of a runner that is no longer named go on and hold their slots, and
// no more are asked for; a runner that stays keeps its jobs, slots and pace, but rests no longer.
func (p *Poller) Set(s Settings) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.concurrent = max(1, s.Concurrent)
	p.interval = s.CheckInterval
	if p.interval <= 0 {
		p.interval = defaultCheckInterval
	}
	now := time.Now()
	named := make(map[string]bool, len(s.Runners))
	for _, conf := range s.Runners {
		named[conf.Key] = true
		r := p.runner(conf.Key)
		r.configure(conf, now)
	}
	for _, r := range p.runners {
		r.leaving = !named[r.Key]
	}
	p.forget()
	p.poke()
}

// runner returns the state of the runner key, made when there is none. The caller holds mu.
func (p *Poller) runner(key string) *runner {
	for _, r := range p.runners {
		if r.Key == key {
			return r
		}
	}
	r := &runner{Runner: Runner{Key: key}, leaving: true, open: map[*request]struct{}{}, width: 1}
	p.runners = append(p.runners, r)
	return r
}

// forget drops the runners that are leaving and hold nothing. The caller holds mu.
func (p *Poller) forget() {
	kept := p.runners[:0]
	for _, r := range p.runners {
		if !r.leaving || r.held() > 0 {
			kept = append(kept, r)
		}
	}
	clear(p.runners[len(kept):])
	p.runners = kept
}

// poke has the scheduler look again.
func (p *Poller) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// silent is the Observer of nobody.
type silent struct{}

func (silent) Asked(string)                              {}
func (silent) Answered(string, int, time.Duration, bool) {}
func (silent) Refused(string)                            {}
func (silent) SlotChanged(string, bool)                  {}
