package nixdaemon

import "time"

// Policy says what of a store is collected, and when. The zero value: only what somebody asks for.
type Policy struct {
	// KeepFor is how long paths are kept that nothing holds, after their last use.
	KeepFor time.Duration `json:"keep_for,omitempty"`
	// MinFree bytes of the file system are to be free, or MinFreePercent of it; both 0: no matter how many.
	MinFree        int64   `json:"min_free,omitempty"`
	MinFreePercent float64 `json:"min_free_percent,omitempty"`
	// Every is how long it is between two collections; 0: only for want of space, and when asked.
	Every time.Duration `json:"every,omitempty"`
}

// least is how many bytes are to be free of total.
func (p Policy) least(total int64) int64 {
	if p.MinFreePercent > 0 {
		return int64(float64(total) * p.MinFreePercent / 100) //nolint:mnd // percent
	}
	return p.MinFree
}

func (p Policy) wantsSpace() bool { return p.MinFree > 0 || p.MinFreePercent > 0 }

const (
	// spaceEvery is how long it is at least between two looks at the free space.
	spaceEvery = time.Minute
	// scarceFor is how long nothing is collected for want of space after a collection that has found nothing.
	scarceFor = 10 * time.Minute
	// tryEvery is how long it is at least between two collections of which the first has failed.
	tryEvery = 10 * time.Minute
	// wakeEvery is how long it is at least between two times that an idle daemon is started for a collection, where the
	// policy says nothing.
	wakeEvery = time.Hour
)

// past reports whether so much time has passed since t. A clock that was set back has it pass.
func past(now, t time.Time, d time.Duration) bool {
	since := now.Sub(t)
	return since < 0 || since >= d
}

// due reports whether the store is to be collected because it has not been for long. idle says that the daemon would
// have to be started for it.
func (m *memory) due(now time.Time, idle bool) bool {
	every := m.Spec.Collect.Every
	if every <= 0 || !m.Unused || !past(now, m.Collected, every) {
		return false
	}
	if idle {
		return past(now, m.Tried, every)
	}
	return past(now, m.Tried, min(every, tryEvery))
}

// wakeable reports whether an idle daemon may be started because space is short.
func (m *memory) wakeable(now time.Time) bool {
	every := m.Spec.Collect.Every
	if every <= 0 {
		every = wakeEvery
	}
	return m.Unused && past(now, m.Tried, every)
}
