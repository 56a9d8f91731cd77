package engine

import (
	"encoding/json"
	"time"

	"gitlab.com/skerry/skerry/internal/boottime"
)

// progress is the engine's own part of a record: the job's deadline on a clock that neither a jump of
// the wall clock nor a suspended machine disturbs, as long as the machine has not been restarted.
type progress struct {
	Boot     string        `json:"boot"`     // the kernel's boot id when the job was accepted
	Started  time.Duration `json:"started"`  // CLOCK_BOOTTIME then
	Accepted time.Time     `json:"accepted"` // the wall clock then
	Timeout  time.Duration `json:"timeout"`

	EndedBoot string        `json:"ended_boot,omitempty"` // the same of when the result was known
	Ended     time.Duration `json:"ended,omitempty"`

	Held      time.Time `json:"held,omitzero"`       // until when the environment of the failed job is kept (keep_failed)
	Delivered bool      `json:"delivered,omitempty"` // the result is with the coordinator: only the environment is left
}

func newProgress(now time.Time, timeout time.Duration) progress {
	return progress{Boot: boottime.ID(), Started: boottime.Now(), Accepted: now, Timeout: timeout}
}

// readProgress reads what Run recorded; a record without it counts from when it was accepted.
func readProgress(raw json.RawMessage, accepted time.Time, timeout time.Duration) progress {
	p := progress{Accepted: accepted, Timeout: timeout}
	if err := json.Unmarshal(raw, &p); err != nil {
		return progress{Accepted: accepted, Timeout: timeout}
	}
	return p
}

// elapsed is how long ago the job was accepted.
func (p progress) elapsed() time.Duration {
	if p.Boot != "" && p.Boot == boottime.ID() {
		return boottime.Now() - p.Started
	}
	return time.Since(p.Accepted)
}

// end notes that the result is known.
func (p *progress) end() { p.EndedBoot, p.Ended = boottime.ID(), boottime.Now() }

// sinceEnd is how long ago the result was known, which was at ended by the wall clock.
func (p progress) sinceEnd(ended time.Time) time.Duration {
	if p.EndedBoot != "" && p.EndedBoot == boottime.ID() {
		return boottime.Now() - p.Ended
	}
	return time.Since(ended)
}
