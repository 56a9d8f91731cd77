package nixdaemon

import "time"

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
