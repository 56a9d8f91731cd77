package engine_test

import (
	"context"
	"io"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/fake"
	"gitlab.com/skerry/skerry/internal/gitlab"
	"gitlab.com/skerry/skerry/internal/job"
	"gitlab.com/skerry/skerry/internal/journal"
	"gitlab.com/skerry/skerry/internal/stage"
)

// closeWatcher is an executor that tells when an environment is about to be removed.
type closeWatcher struct {
	executor.Executor
	closing, bequeath func()
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
	return watchedEnvironment{env, w.closing, w.bequeath, new(atomic.Pointer[func()])}
}

type watchedEnvironment struct {
	executor.Environment
	closing, bequeath func()

	free *atomic.Pointer[func()]
}

func (w watchedEnvironment) Bequeath(free func()) {
	if w.bequeath != nil {
		w.bequeath()
	}
	w.free.Store(&free)
}

func (w watchedEnvironment) Close(ctx context.Context) error {
	if free := w.free.Load(); free != nil {
		(*free)() // before the rest, as where something is kept
	}
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

// What a job has made is for later ones only if it has succeeded, and the environment is told so before it is removed.
func TestOnlySuccessIsBequeathed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		result stage.Result
		want   []string
	}{
		"success": {stage.Result{Reason: stage.Success}, []string{"bequeath", "close"}},
		"failure": {stage.Result{Reason: stage.Failed, ExitCode: 1}, []string{"close"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, one(scripted(fake.Claim(c.result))), func(b *bench) {
				var mu sync.Mutex
				var got []string
				note := func(what string) func() {
					return func() {
						mu.Lock()
						defer mu.Unlock()
						got = append(got, what)
					}
				}
				b.closing, b.bequeath = note("close"), note("bequeath")
				b.run(minimal())
				b.engine.Wait(b.t.Context())
				if diff := cmp.Diff(c.want, got); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
}

// A job's numbers are another's before what it leaves is kept, which may take ten minutes, and are given back once.
func TestNumbersAreFreeBeforeSomethingIsKept(t *testing.T) {
	t.Parallel()
	bubble(t, one(scripted(fake.Claim(stage.Result{Reason: stage.Success}))), func(b *bench) {
		a, c := b.job(minimal())
		var times, before atomic.Int32
		a.Closed = func() { times.Add(1) }
		b.closing = func() { before.Store(times.Load()) }
		c.update = func(gitlab.Update) (gitlab.UpdateResult, error) { return accepted() }
		if err := b.engine.Run(b.t.Context(), a); err != nil {
			t.Fatal(err)
		}
		b.engine.Wait(b.t.Context())
		if times.Load() != 1 || before.Load() != 1 {
			t.Errorf("they are given back %d times, %d of them before the rest is closed", times.Load(), before.Load())
		}
	})
}
