package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"gitlab.com/skerry/skerry/internal/gitlab"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
	"gitlab.com/skerry/skerry/internal/gitlab/jobpayload"
)

// hi is the job that is measured: sources of a hundred files into a new directory, and one line.
func hi() gitlabtest.JobSpec {
	return gitlabtest.JobSpec{
		Project: projectPath, Script: []string{"echo hi"},
		Variables: []jobpayload.Variable{{Key: "GIT_CLONE_PATH", Value: "$CI_BUILDS_DIR/$CI_JOB_ID", Public: true}},
	}
}

// shellJob measures single jobs, by hand and by the runner in turn.
func shellJob(ctx context.Context, s *settings, out *report) (err error) {
	in, err := install(ctx, s, wish{concurrent: 1, project: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.close()) }()
	var jobs, floor []time.Duration
	for i := range s.rounds + 1 {
		hand, err := in.byHand(ctx, fmt.Sprint("single", i))
		if err != nil {
			return err
		}
		j, err := in.job(ctx, hi())
		if err != nil {
			return err
		}
		if i == 0 {
			continue // what is read from the disk for the first time
		}
		jobs, floor = append(jobs, took(j)), append(floor, hand)
		if err := in.listening(ctx); err != nil {
			return err
		}
	}
	out.add(figure{name: "shell-job", value: median(jobs), unit: "ms", floor: median(floor), goal: &goal{limit: 1.5, ratio: true}})
	return nil
}

const (
	manyJobs = 50
	abreast  = 8
)

// shellThroughput measures many jobs at once, and the same by hand, as many abreast.
func shellThroughput(ctx context.Context, s *settings, out *report) (err error) {
	in, err := install(ctx, s, wish{concurrent: abreast, project: true, keys: []string{fmt.Sprintf("request_concurrency = %d", abreast)}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.close()) }()
	if _, err := in.job(ctx, hi()); err != nil {
		return err
	}
	start := time.Now()
	if err := in.handAbreast(ctx); err != nil {
		return err
	}
	floor := time.Since(start)
	took, err := in.many(ctx, manyJobs)
	if err != nil {
		return err
	}
	rate := func(d time.Duration) float64 { return manyJobs / d.Minutes() }
	out.add(figure{name: "shell-throughput", value: rate(took), unit: "jobs/min", floor: rate(floor), goal: &goal{limit: 900, atLeast: true}})
	return nil
}

// many runs n of the smallest jobs and returns the time from the first queued to the last accepted.
func (in *installation) many(ctx context.Context, n int) (time.Duration, error) {
	return in.manyOf(ctx, n, hi())
}

// manyOf runs n jobs and returns the time from the first queued to the last accepted.
func (in *installation) manyOf(ctx context.Context, n int, spec gitlabtest.JobSpec) (time.Duration, error) {
	start := time.Now()
	var ids []int64
	for range n {
		id, err := in.co.AddJob(ctx, spec)
		if err != nil {
			return 0, err
		}
		ids = append(ids, id)
	}
	end := start
	for _, id := range ids {
		j, err := in.succeeded(ctx, id)
		if err != nil {
			return 0, err
		}
		if j.Finished.After(end) {
			end = j.Finished
		}
	}
	return end.Sub(start), nil
}

func (in *installation) handAbreast(ctx context.Context) error {
	var wg sync.WaitGroup
	work, errs := make(chan int), make(chan error, manyJobs)
	for range abreast {
		wg.Go(func() {
			for i := range work {
				_, err := in.byHand(ctx, fmt.Sprint("many", i))
				errs <- err
			}
		})
	}
	for i := range manyJobs {
		work <- i
	}
	close(work)
	wg.Wait()
	close(errs)
	var all []error
	for err := range errs {
		all = append(all, err)
	}
	return errors.Join(all...)
}

// pickup measures the two ways in which a free slot and a job meet: the job comes to a runner that
// waits, or the slot becomes free while a job waits. The floor is one call to the coordinator.
func pickup(ctx context.Context, s *settings, out *report) (err error) {
	in, err := install(ctx, s, wish{concurrent: 1})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.close()) }()
	var waits, frees, calls []time.Duration
	for range s.rounds {
		if err := in.listening(ctx); err != nil {
			return err
		}
		call, err := in.call(ctx)
		if err != nil {
			return err
		}
		j, err := in.job(ctx, gitlabtest.JobSpec{Script: []string{"true"}})
		if err != nil {
			return err
		}
		waits, calls = append(waits, j.HandedOut.Sub(j.Queued)), append(calls, call)
	}
	var ids []int64
	for range s.rounds + 1 {
		id, err := in.co.AddJob(ctx, gitlabtest.JobSpec{Script: []string{"true"}})
		if err != nil {
			return err
		}
		ids = append(ids, id)
	}
	var before gitlabtest.Job
	for i, id := range ids {
		j, err := in.succeeded(ctx, id)
		if err != nil {
			return err
		}
		if i > 0 {
			frees = append(frees, j.HandedOut.Sub(before.Finished))
		}
		before = j
	}
	floor := median(calls)
	for _, f := range []figure{
		{name: "pickup", value: median(waits), goal: &goal{limit: 50}, note: "a job comes to a runner that waits"},
		{name: "pickup-p95", value: quantile(waits, 0.95)},
		{name: "pickup-next", value: median(frees), goal: &goal{limit: 50}, note: "a slot becomes free, a job waits"},
		{name: "pickup-next-p95", value: quantile(frees, 0.95)},
	} {
		f.unit, f.floor = "ms", floor
		out.add(f)
	}
	return nil
}

// call is how long the coordinator takes to answer anything at all.
func (in *installation) call(ctx context.Context) (time.Duration, error) {
	client, err := gitlab.New(gitlab.Options{URL: in.co.URL()})
	if err != nil {
		return 0, err
	}
	token := in.co.Runners()[0].Token
	start := time.Now()
	_, err = client.Verify(ctx, token, "")
	return time.Since(start), err
}
