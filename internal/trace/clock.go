package trace

import "time"

// Clock paces checkpoints, retries and uploads and dates the lines of a LineWriter. It never has a
// part in what the log says otherwise.
type Clock interface {
	Now() time.Time
	After(d time.Duration) <-chan time.Time
}

type wallClock struct{}

func (wallClock) Now() time.Time                         { return time.Now() }
func (wallClock) After(d time.Duration) <-chan time.Time { return time.After(d) }
