package gitlabtest

import (
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/payload"
	"gitlab.com/skerry/skerry/internal/gitlab/jobpayload"
)

// payload is what POST /jobs/request answers. The caller holds mu.
func (c *Coordinator) payload(j *record, r *runner) jobpayload.Payload {
	h := payload.Handout{
		Addr: c.addr, ID: j.id, Token: j.token, Pipeline: j.pipeline.Pipeline, Timeout: j.timeout, Queued: j.queued, Handed: j.handed,
		QueueSize: len(c.queue), WaitsForAck: j.waitingAck, Manual: j.manual, Dependencies: c.dependencies(j),
		RunnerID: r.ID, RunnerName: r.Description, RunnerTags: r.Tags,
	}
	if j.session != nil {
		h.SessionURL = j.session.URL
	}
	if j.plan != nil {
		h.Index, h.Total = j.plan.Index, j.plan.Total
	}
	for _, id := range j.spec.Dependencies {
		if d := c.jobs[id]; d != nil {
			h.Dotenv = append(h.Dotenv, d.dotenv...)
		}
	}
	return payload.Build(&j.spec, &h)
}

// dependencies are the jobs whose artifacts j gets. The caller holds mu.
func (c *Coordinator) dependencies(j *record) []jobpayload.Dependency {
	deps := []jobpayload.Dependency{}
	for _, id := range j.spec.Dependencies {
		d := c.jobs[id]
		if d == nil {
			continue
		}
		dep := jobpayload.Dependency{ID: d.id, Name: d.spec.Name, Token: j.token}
		if a := d.artifacts["archive"]; a != nil {
			dep.ArtifactsFile = &jobpayload.ArtifactFile{Filename: a.Filename, Size: a.Size}
		}
		deps = append(deps, dep)
	}
	return deps
}
