package agent

import (
	"errors"
	"fmt"
	"time"

	"gitlab.com/skerry/skerry/internal/agent/wire"
	"gitlab.com/skerry/skerry/internal/boottime"
	"gitlab.com/skerry/skerry/internal/stage"
)

// errEnding answers who wants a stage of an agent that ends.
var errEnding = errors.New("the agent is ending")

// errOtherJob answers a handover of another job: an agent serves one for all its life.
var errOtherJob = errors.New("the agent belongs to another job")

func deadlineOver() *early {
	return &early{reason: stage.Timeout, message: "The job took longer than its time limit."}
}

// overdue reports whether the job's deadline has passed. a.mu is held.
func (a *Agent) overdue() bool { return a.state.Deadline > 0 && boottime.Now() >= a.state.Deadline }

// setDeadline arms the alarm of the job's deadline, a boottime. a.mu is held, or nobody else here yet.
func (a *Agent) setDeadline(at time.Duration) error {
	if a.alarm != nil {
		a.alarm.stop()
		a.alarm = nil
	}
	if at <= 0 || a.ending {
		return nil
	}
	al, err := newAlarm(at, a.deadline)
	if err != nil {
		return err
	}
	a.alarm = al
	return nil
}

// deadline ends the stages that run when the job's time is over.
func (a *Agent) deadline() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.overdue() { // set anew meanwhile
		return
	}
	for _, r := range a.stages {
		r.end(deadlineOver(), r.grace())
	}
}

// handover binds the agent to a job; see wire.Handover.
func (a *Agent) handover(h wire.Handover) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.state.Job != "" && a.state.Job != h.Job {
		return errOtherJob
	}
	next := a.state
	next.Job, next.Boot, next.Lease, next.Handed = h.Job, boottime.ID(), h.Lease, true
	next.Deadline = 0
	if h.Left != 0 {
		next.Deadline = max(boottime.Now()+h.Left, 1)
	}
	if err := a.store.setJob(next); err != nil {
		return err
	}
	a.state = next
	a.lease.set(h.Lease)
	if err := a.setDeadline(next.Deadline); err != nil {
		return fmt.Errorf("set the job's deadline: %w", err)
	}
	return nil
}

// leaseTime is the lease in force.
func (a *Agent) leaseTime() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.state.Handed {
		return a.state.Lease
	}
	return a.config.Lease
}
