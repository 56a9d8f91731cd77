package poll

import "time"

// Stats is what the poller holds at one moment.
type Stats struct {
	Concurrent int // slots
	Jobs       int // slots held by jobs
	Requests   int // slots held by open requests
	Runners    []RunnerStats
}

// RunnerStats is one runner's part of Stats.
type RunnerStats struct {
	Key, Name          string
	Limit              int
	RequestConcurrency int
	Jobs, Requests     int
	Leaving            bool      // no longer configured
	RestsUntil         time.Time // after refusals; zero when it does not rest
}

// Stats returns the present state, runners in the order in which they were first set.
func (p *Poller) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := Stats{Concurrent: p.concurrent}
	for _, r := range p.runners {
		rs := RunnerStats{
			Key: r.Key, Name: r.Name, Limit: r.Limit, RequestConcurrency: r.RequestConcurrency,
			Jobs: r.jobs, Requests: len(r.open), Leaving: r.leaving,
		}
		if r.resting {
			rs.RestsUntil = r.next
		}
		s.Jobs += rs.Jobs
		s.Requests += rs.Requests
		s.Runners = append(s.Runners, rs)
	}
	return s
}
