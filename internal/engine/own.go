package engine

import (
	"context"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/job"
	"gitlab.com/skerry/skerry/internal/stage"
)

// own gives the job's directories to the build place's user, where that is due (see plan.Own). It says nothing in
// the log and is done once: what a script has made since then is its own.
func (x *execution) own(ctx context.Context) error {
	if st, due := x.plan.Own(1, 1); !due || x.trace.Has(key(st, "done")) {
		return nil
	}
	if _, err := x.places.agent(ctx, executor.Build); err != nil {
		return x.placeError(ctx, executor.Build, job.StageStepScript, err)
	}
	user := x.places.user(executor.Build)
	st, due := x.plan.Own(user.uid, user.gid)
	if !due {
		return nil
	}
	agent, err := x.places.agent(ctx, executor.Helper)
	if err == nil {
		_, err = start(ctx, agent, st.Spec)
	}
	if err != nil {
		return x.placeError(ctx, executor.Helper, st.Name, err)
	}
	res, err := x.await(ctx, agent, executor.Helper, st)
	switch {
	case err != nil && cause(ctx) != nil:
		return err
	case err != nil:
		return x.placeError(ctx, executor.Helper, st.Name, err)
	case res.Reason != stage.Success:
		return &stageError{name: st.Name, result: res}
	}
	x.mark(key(st, "done"))
	return nil
}
