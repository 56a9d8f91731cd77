package engine_test

import (
	"context"
	"io"
	"testing"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/fake"
	"gitlab.com/skerry/skerry/internal/job"
	"gitlab.com/skerry/skerry/internal/journal"
	"gitlab.com/skerry/skerry/internal/stage"
)

// closeWatcher is an executor that tells when an environment is about to be removed.
type closeWatcher struct {
	executor.Executor
	closing func()
}

func (w closeWatcher) Prepare(ctx context.Context, ref executor.Ref, j *job.Job, log io.Writer) (executor.Environment, error) {
	env, err := w.Executor.Prepare(ctx, ref, j, log)
	return w.watch(env), err
}

func (w closeWatcher) Adopt(ctx context.Context, ref executor.Ref) (executor.Environment, error) {
	env, err := w.Executor.Adopt(ctx, ref)
	return w.watch(env), err
}

func (w closeWatcher) watch(env executor.Environment) executor.Environment {
	if env == nil || w.closing == nil {
		return env
	}
	return watchedEnvironment{env, w.closing}
}

type watchedEnvironment struct {
	executor.Environment
	closing func()
}

func (w watchedEnvironment) Close(ctx context.Context) error {
	w.closing()
	return w.Environment.Close(ctx)
}

// Until the result is journaled, the environment is all that knows how the job ended: a runner that is killed
// between the two would find neither.
func TestResultIsJournaledBeforeTheEnvironmentIsRemoved(t *testing.T) {
	t.Parallel()
	bubble(t, one(scripted(fake.Claim(stage.Result{Reason: stage.Failed, ExitCode: 7}))), func(b *bench) {
		b.closing = func() {
			recs, err := b.journal.All()
			if err != nil {
				t.Error(err)
			}
			for _, rec := range recs { // none: it has been delivered and forgotten
				if rec.State != journal.Finished || rec.Result == nil || rec.Result.ExitCode != 7 {
					t.Errorf("the environment is removed while the journal says %s, %+v", rec.State, rec.Result)
				}
			}
		}
		if got := b.run(minimal()).final(t); got.State != "failed" || got.ExitCode != 7 {
			t.Errorf("ended %+v", got)
		}
	})
}
