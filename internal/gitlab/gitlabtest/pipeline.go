package gitlabtest

import (
	"context"
	"fmt"
	"slices"
	"time"

	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/payload"
	"gitlab.com/skerry/skerry/internal/gitlab/jobpayload"
	"gitlab.com/skerry/skerry/internal/pipeline"
)

// PipelineSpec says what to run.
type PipelineSpec struct {
	Project   string                // path of a project of AddProject
	Ref       string                // branch or tag; empty: the default branch, which is protected
	File      string                // in the repository; empty: .gitlab-ci.yml
	Variables []jobpayload.Variable // of the pipeline: they win over those of the file
	Timeout   time.Duration         // of jobs that say none; 0: 1 h
}

// Pipeline is a snapshot of a pipeline.
type Pipeline struct {
	ID     int64
	Status string // running, success, failed, canceled, skipped, or manual: it waits for Play
	Jobs   []Job  // the last try of each, in the file's order
}

// Over says whether nothing goes on any more without somebody's doing.
func (p Pipeline) Over() bool { return p.Status != StatusRunning }

// RunPipeline starts the pipeline that the project's file makes, and returns its id. An error in
// the file is a joined *pipeline.Error.
func (c *Coordinator) RunPipeline(ctx context.Context, spec PipelineSpec) (int64, error) {
	c.mu.Lock()
	p := c.projects[spec.Project]
	c.mu.Unlock()
	if p == nil {
		return 0, fmt.Errorf("no project %q; add it with AddProject", spec.Project)
	}
	pl, err := c.newRun(ctx, p, spec.Ref)
	if err != nil {
		return 0, err
	}
	if spec.File == "" {
		spec.File = pipeline.DefaultFile
	}
	data, ok := p.File(ctx, pl.Commit.SHA, spec.File)
	if !ok {
		return 0, fmt.Errorf("there is no %s at %s of %s; commit one", spec.File, pl.Commit.Ref, spec.Project)
	}
	parsed, err := pipeline.Parse(spec.File, data)
	if err != nil {
		return 0, err
	}
	specs := make([]JobSpec, len(parsed.Jobs))
	for i, j := range parsed.Jobs {
		if specs[i], err = payload.Of(ctx, &pl.Pipeline, j); err != nil {
			return 0, err
		}
		specs[i].Variables = append(specs[i].Variables, spec.Variables...)
		if specs[i].Timeout == 0 {
			specs[i].Timeout = spec.Timeout
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	pl.plan, c.pipelines[pl.ID] = parsed, pl
	for i, j := range parsed.Jobs {
		r := c.newRecord(specs[i], pl)
		r.plan = j
		pl.jobs = append(pl.jobs, r)
	}
	c.progress(pl)
	return pl.ID, nil
}

// Pipeline returns a snapshot of a pipeline, and whether there is such a one.
func (c *Coordinator) Pipeline(id int64) (Pipeline, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	pl := c.pipelines[id]
	if pl == nil {
		return Pipeline{}, false
	}
	return pl.snapshot(), true
}

func (pl *run) snapshot() Pipeline {
	s := Pipeline{ID: pl.ID, Status: pl.status()}
	for _, j := range pl.jobs {
		s.Jobs = append(s.Jobs, j.snapshot())
	}
	return s
}

// WaitPipeline returns the pipeline once it is over.
func (c *Coordinator) WaitPipeline(ctx context.Context, id int64) (Pipeline, error) {
	return c.WaitPipelineFor(ctx, id, Pipeline.Over)
}

// WaitPipelineFor returns the pipeline once cond is true of it. Cond sees it after events of its
// jobs, several at once where they come quickly.
func (c *Coordinator) WaitPipelineFor(ctx context.Context, id int64, cond func(Pipeline) bool) (Pipeline, error) {
	for {
		c.mu.Lock()
		pl := c.pipelines[id]
		if pl == nil {
			c.mu.Unlock()
			return Pipeline{}, fmt.Errorf("no pipeline %d", id)
		}
		s, changed := pl.snapshot(), pl.changed
		c.mu.Unlock()
		if cond(s) {
			return s, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return s, fmt.Errorf("pipeline %d is not over: %w", id, context.Cause(ctx))
		case <-c.closing:
			return s, fmt.Errorf("pipeline %d is not over and the coordinator is closed", id)
		}
	}
}

// Play starts a manual job, or a delayed one before its time. What was skipped for want of it waits again.
func (c *Coordinator) Play(id int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	j := c.jobs[id]
	if j == nil || (j.status != StatusManual && j.status != StatusScheduled) {
		return fmt.Errorf("job %d does not wait to be started by hand", id)
	}
	j.manual = true
	if pl := j.pipeline; j.plan != nil {
		pl.revive(slices.Index(pl.jobs, j))
	}
	c.start(j)
	return nil
}

// revive makes the skipped jobs behind pl.jobs[i] wait again. Source: Ci::AfterRequeueJobService.
func (pl *run) revive(i int) {
	for k, j := range pl.jobs {
		if j.status == StatusSkipped && slices.Contains(pl.plan.Before(k), i) {
			j.status, j.finished = StatusCreated, time.Time{}
			pl.revive(k)
		}
	}
}

// advance goes on after the job j has reached its final state. The caller holds mu.
func (c *Coordinator) advance(j *record) {
	pl := j.pipeline
	if j.plan == nil {
		return
	}
	if j.status == StatusFailed && j.plan.Retry.Applies(j.reason, j.exit, j.retries) {
		again := c.newRecord(j.spec, pl)
		again.plan, again.retries, again.manual = j.plan, j.retries+1, j.manual
		pl.jobs[slices.Index(pl.jobs, j)] = again
		c.start(again)
		return
	}
	c.progress(pl)
}

// progress moves every job that waits for nothing any more. The caller holds mu.
func (c *Coordinator) progress(pl *run) {
	for moved := true; moved; {
		moved = false
		for i, j := range pl.jobs {
			if j.status == StatusCreated && c.move(pl, i) {
				moved = true
			}
		}
	}
}

// move starts, holds or skips a job, and says whether it did.
func (c *Coordinator) move(pl *run, i int) bool {
	outcomes := make([]pipeline.Outcome, len(pl.jobs))
	for k, j := range pl.jobs {
		outcomes[k] = j.outcome()
	}
	j := pl.jobs[i]
	switch pl.plan.Next(i, outcomes) {
	case pipeline.Wait:
		return false
	case pipeline.Start:
		c.start(j)
	case pipeline.Hold:
		j.status = StatusManual
		c.event(j, EventManual, 0, "")
	case pipeline.Delay:
		j.status, j.due = StatusScheduled, c.opts.Clock.Now().Add(c.opts.scaled(j.plan.StartIn))
		c.active[j.id] = j
		c.event(j, EventScheduled, 0, "")
	case pipeline.Skip:
		j.status, j.finished = StatusSkipped, c.opts.Clock.Now()
		c.event(j, EventFinished, 0, StatusSkipped)
	}
	return true
}

func (j *record) outcome() pipeline.Outcome {
	switch {
	case j.status == StatusCreated:
		return pipeline.Waiting
	case j.status == StatusManual:
		return pipeline.Held
	case j.status == StatusSkipped:
		return pipeline.Skipped
	case j.status == StatusSuccess || ((j.status == StatusFailed || j.status == StatusCanceled) && j.mayFail()):
		return pipeline.Passed
	case j.status == StatusCanceled:
		return pipeline.Stopped
	case finished(j.status):
		return pipeline.Broken
	}
	return pipeline.Going
}

// start queues a job of a pipeline, with the jobs whose artifacts it gets. The caller holds mu.
func (c *Coordinator) start(j *record) {
	pl := j.pipeline
	j.spec.Dependencies = nil
	for _, k := range pl.plan.Sources(slices.Index(pl.jobs, j)) {
		if d := pl.jobs[k]; d.status != StatusSkipped && d.status != StatusManual {
			j.spec.Dependencies = append(j.spec.Dependencies, d.id)
		}
	}
	delete(c.active, j.id)
	c.enqueue(j)
}

// status is the pipeline's state, made of its jobs' as in GitLab's Ci::Status::Composite.
func (pl *run) status() string {
	var failed, canceled, blocked, waiting, ran bool
	for _, j := range pl.jobs {
		switch j.status {
		case StatusScheduled, StatusPending, StatusRunning, StatusCanceling:
			return StatusRunning
		case StatusCreated:
			waiting = true
		case StatusManual:
			blocked = blocked || !j.spec.AllowFailure
		case StatusFailed:
			failed = failed || !j.mayFail()
			ran = true
		case StatusCanceled:
			canceled = canceled || !j.mayFail()
			ran = true
		case StatusSuccess:
			ran = true
		}
	}
	switch {
	case failed:
		return StatusFailed
	case canceled:
		return StatusCanceled
	case blocked || waiting:
		return StatusManual
	case ran:
		return StatusSuccess
	}
	return StatusSkipped
}
