package agent

import (
	"fmt"
	"path/filepath"
	"time"

	"gitlab.com/skerry/skerry/internal/agent/proc"
	"gitlab.com/skerry/skerry/internal/agent/spool"
	"gitlab.com/skerry/skerry/internal/boottime"
	"gitlab.com/skerry/skerry/internal/stage"
)

// leftGrace is between TERM and KILL for what a killed agent left.
const leftGrace = 2 * time.Second

// succeed takes over what an earlier agent of the directory left: results, spools, the deadline, and
// stages that nobody finished, whose processes it ends.
func (a *Agent) succeed() (err error) {
	if a.state, err = a.store.job(); err != nil {
		return err
	}
	ids, err := a.store.stages()
	if err != nil {
		return err
	}
	if err := a.endLeftovers(ids); err != nil {
		a.o.Log.Warn("end what an earlier agent left", "error", err)
	}
	for _, id := range ids {
		if err := a.inherit(id); err != nil {
			return fmt.Errorf("stage %q of an earlier agent: %w", id, err)
		}
	}
	if a.state.Deadline > 0 && a.state.Boot == boottime.ID() {
		return a.setDeadline(a.state.Deadline)
	}
	return nil
}

// endLeftovers ends the processes of terminals and of stages that have no result.
func (a *Agent) endLeftovers(ids []string) error {
	if err := proc.EndLeftovers(nil, a.mark(terminals), leftGrace); err != nil {
		return err
	}
	for _, id := range ids {
		if res, err := a.store.result(id); err != nil || res != nil {
			continue
		}
		var records []proc.Record
		if st, err := a.store.started(id); err == nil && st.Boot == boottime.ID() {
			records = a.store.processes(id)
		}
		if err := proc.EndLeftovers(records, a.mark(id), leftGrace); err != nil {
			return err
		}
	}
	return nil
}

// inherit makes a stage of an earlier agent known.
func (a *Agent) inherit(id string) error {
	st, err := a.store.started(id)
	if err != nil {
		return err
	}
	sp, err := spool.Open(filepath.Join(a.store.stage(id), "spool"), a.config.spool())
	if err != nil {
		return err
	}
	r := &run{id: id, at: st.At, spool: sp, done: make(chan struct{})}
	a.stages[id] = r
	res, err := a.store.result(id)
	if err != nil {
		return err
	}
	if res == nil {
		res = &stage.Result{
			Reason: stage.Lost, Started: st.At, Ended: max(st.At, time.Now().UnixMicro()),
			Message: "The agent that ran this stage was killed, and the stage's processes have been ended. It may have run out of memory.",
		}
	}
	a.publish(r, *res)
	return nil
}
