package gitlabtest

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"

	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/call"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/payload"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/project"
	"gitlab.com/skerry/skerry/internal/pipeline"
)

// run is a pipeline, or what stands for one where AddJob made the jobs. Coordinator.mu guards it.
type run struct {
	payload.Pipeline

	plan    *pipeline.Pipeline // nil for AddJob
	jobs    []*record          // the last try of each of plan.Jobs
	changed chan struct{}
}

// AddProject hosts a copy of the repository at dir as path ("group/name"); pipelines and jobs run
// for what is committed there. Git serves it at URL()/path.git to the tokens of running jobs.
func (c *Coordinator) AddProject(ctx context.Context, path, dir string) (*project.Project, error) {
	c.mu.Lock()
	known, id := c.projects[path], c.id()
	c.mu.Unlock()
	if !regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)+$`).MatchString(path) {
		return nil, fmt.Errorf("project path %q: should be GROUP/NAME, of letters, digits, underscores, dots and hyphens", path)
	}
	if known != nil {
		return nil, fmt.Errorf("project %q exists already", path)
	}
	p, err := project.Mirror(ctx, dir, filepath.Join(c.opts.Dir, "repositories"), path, id)
	if err != nil {
		return nil, fmt.Errorf("host %q: %w", dir, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.projects[path] = p
	return p, nil
}

// SyncProject brings the hosted copy to the state of the repository it was made from.
func (c *Coordinator) SyncProject(ctx context.Context, path string) error {
	c.mu.Lock()
	p := c.projects[path]
	c.mu.Unlock()
	if p == nil {
		return fmt.Errorf("no project %q", path)
	}
	if err := p.Update(ctx); err != nil {
		return fmt.Errorf("update %q: %w", path, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for key := range c.commits {
		if strings.HasPrefix(key, path+"\x00") {
			delete(c.commits, key)
		}
	}
	return nil
}

// commitOf returns the pipeline that stands for AddJob's jobs on a ref, which is resolved once.
func (c *Coordinator) commitOf(ctx context.Context, path, ref string) (*run, error) {
	key := path + "\x00" + ref
	c.mu.Lock()
	pl, p := c.commits[key], c.projects[path]
	c.mu.Unlock()
	if pl != nil {
		return pl, nil
	}
	if path != "" && p == nil {
		return nil, fmt.Errorf("no project %q; add it with AddProject", path)
	}
	pl, err := c.newRun(ctx, p, ref)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.commits[key] = pl
	return pl, nil
}

func (c *Coordinator) newRun(ctx context.Context, p *project.Project, ref string) (*run, error) {
	c.mu.Lock()
	pl := &run{Pipeline: payload.Pipeline{ID: c.id(), Project: p, Source: "push"}, changed: make(chan struct{})}
	c.mu.Unlock()
	pl.Created = c.opts.Clock.Now().UTC().Format("2006-01-02T15:04:05Z")
	if p == nil {
		pl.Commit = project.Commit{Ref: "main", SHA: strings.Repeat("0", 40), BeforeSHA: strings.Repeat("0", 40)}
		return pl, nil
	}
	var err error
	if pl.Commit, err = p.Resolve(ctx, ref); err != nil {
		return nil, err
	}
	if err := p.KeepPipeline(ctx, pl.ID, pl.Commit.SHA); err != nil {
		return nil, err
	}
	return pl, nil
}

// mayRead says whether git may read the project: with the token of a running job of this instance.
func (c *Coordinator) mayRead(user, password, path string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	j := c.byToken[password]
	return user == "gitlab-ci-token" && c.projects[path] != nil && j != nil && j.token == password && j.processing() &&
		!c.tokenDead(j, c.opts.Clock.Now())
}

// gitHandler lets faults hit git requests too.
func (c *Coordinator) gitHandler(s *project.Server) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		k := &call.Call{Request: r, Endpoint: EndpointGit, Header: http.Header{}, Fault: c.calls.Faults.Take(EndpointGit, 0, "")}
		if !c.calls.Before(k) {
			call.Cut(w)
			return
		}
		if k.Status != 0 {
			c.calls.Send(w, k)
			return
		}
		s.ServeHTTP(w, r)
	})
}
