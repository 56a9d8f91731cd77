package gitlabtest

import (
	"io"
	"log/slog"
	"time"

	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/breach"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/clock"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/store"
)

// Options configures a Coordinator. The zero value is usable but for Dir, which Start fills in.
type Options struct {
	// Listen is the address to serve on; empty means 127.0.0.1 and a free port.
	Listen string
	// Dir holds repositories, artifacts and trace files. It is made when missing and not removed.
	Dir string
	// Logger gets one line a request (debug) and what goes wrong inside; nil discards.
	Logger *slog.Logger
	// RegistrationToken registers runners (POST /runners); empty means a random one.
	RegistrationToken string
	// UserToken is the personal access token of whom the runners belong to; empty means a random one.
	UserToken string
	// LongPoll is how long a job request is held open while there is nothing new: 0 means 50 s,
	// Workhorse's default; negative answers at once, as GitLab without Workhorse does.
	LongPoll time.Duration
	// TraceInterval is the X-GitLab-Trace-Update-Interval of answers to patches, in seconds; GitLab
	// says 3 while somebody watches the job and 60 otherwise. 0 leaves the pace to the runner.
	TraceInterval int
	// Traces says where the logs are kept.
	Traces store.Mode
	// OnePhase hands jobs out as running even to runners that can acknowledge them.
	OnePhase bool
	// Scale divides Limits and the waits of faults: 3600 makes an hour a second. 0 means 1.
	Scale float64
	// Limits are GitLab's own clocks; zero fields get GitLab's values.
	Limits Limits
	// Clock is the source of time; nil means the real one.
	Clock clock.Clock
	// Tolerate lists breaches that are not recorded: older runners do not know every header.
	Tolerate []breach.Kind
	// MaxArtifact is the largest upload in bytes; 0 means 1 GiB.
	MaxArtifact int64
}

// Limits are the clocks after which GitLab itself ends a job, unscaled.
type Limits struct {
	Stuck   time.Duration // without an update: 1 h (StuckBuilds::DropRunningService)
	Touch   time.Duration // an update counts only when the last that counted is older: 15 min
	Overdue time.Duration // after the job's timeout: 15 min (TimedOutBuilds)
	Token   time.Duration // after the job's timeout the job token dies: 5 min
	Pending time.Duration // an unacknowledged job goes to somebody else: 2 min
}

const (
	defaultLongPoll    = 50 * time.Second
	defaultTimeout     = time.Hour
	defaultMaxArtifact = 1 << 30
	maxPatch           = 1 << 20
	maxJSON            = 8 << 20
)

func (o *Options) fill() {
	orDuration := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	if o.Listen == "" {
		o.Listen = "127.0.0.1:0"
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if o.RegistrationToken == "" {
		o.RegistrationToken = "GR1348941" + random(10)
	}
	if o.UserToken == "" {
		o.UserToken = "glpat-" + random(10)
	}
	orDuration(&o.LongPoll, defaultLongPoll)
	if o.Scale == 0 {
		o.Scale = 1
	}
	if o.Clock == nil {
		o.Clock = clock.Real{}
	}
	if o.MaxArtifact == 0 {
		o.MaxArtifact = defaultMaxArtifact
	}
	orDuration(&o.Limits.Stuck, time.Hour)
	orDuration(&o.Limits.Touch, 15*time.Minute)
	orDuration(&o.Limits.Overdue, 15*time.Minute)
	orDuration(&o.Limits.Token, 5*time.Minute)
	orDuration(&o.Limits.Pending, 2*time.Minute)
}

// scaled returns how long d is on the coordinator's clock.
func (o *Options) scaled(d time.Duration) time.Duration {
	return time.Duration(float64(d) / o.Scale)
}
