package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"gitlab.com/skerry/skerry/internal/agent/client"
	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/gitlab"
	"gitlab.com/skerry/skerry/internal/job"
	"gitlab.com/skerry/skerry/internal/plan"
)

// outage is how long the coordinator may be away before a transfer gives up: GitLab drops a job that
// nobody has updated for an hour, so beyond that there is nobody to transfer for.
const outage = 50 * time.Minute

// cleanupTime is how long cleaning up may take, also after the job's timeout.
const cleanupTime = time.Minute

// parallelDownloads is how many artifact archives are fetched at once.
const parallelDownloads = 4

// downloadArtifacts brings earlier jobs' artifacts: the archives in parallel, then one stage that
// extracts them in order.
func (x *execution) downloadArtifacts(ctx context.Context) error {
	st, downloads := x.plan.Downloads()
	if len(downloads) == 0 {
		return nil
	}
	if !x.trace.Has(key(st, "fetched")) {
		x.openSection(st, time.Now().UnixMicro())
		if err := x.fetchAll(ctx, downloads); err != nil {
			return x.notFetched(ctx, st, err)
		}
		x.mark(key(st, "fetched"))
	}
	return x.simple(ctx, st)
}

// notFetched says in the log why there are no artifacts, unless the next runner process goes on fetching them.
func (x *execution) notFetched(ctx context.Context, st plan.Step, err error) error {
	c := cause(ctx)
	if errors.Is(c, ErrDetach) {
		return c
	}
	if c == nil {
		x.note(key(st, "failed"), red+"ERROR: "+words(err.Error(), maxWords)+reset)
	}
	x.closeSection(st, time.Now().UnixMicro())
	return first(c, err)
}

func (x *execution) fetchAll(ctx context.Context, downloads []plan.Download) error {
	agent, err := x.places.agent(ctx, executor.Helper)
	if err != nil {
		return x.placeError(ctx, executor.Helper, "download_artifacts", err)
	}
	var (
		group sync.WaitGroup
		errs  = make([]error, len(downloads))
		slots = make(chan struct{}, parallelDownloads)
	)
	for i, d := range downloads {
		group.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			errs[i] = x.fetch(ctx, agent, d)
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

// fetch brings one archive from the coordinator to the agent. Only the first attempt lets the coordinator
// redirect it to its storage, which a runner may not reach.
// Source: gitlab-runner commands/helpers/artifacts_downloader.go, directDownloadFlag.
func (x *execution) fetch(ctx context.Context, agent *client.Client, d plan.Download) error {
	direct, breaks := x.plan.Flag(plan.FlagDirectDownload), 0
	err := x.retry(ctx, x.plan.Settings.DownloadAttempts, func() error {
		body, size, err := x.api.DownloadArtifact(ctx, d.Job, direct)
		direct = false
		if err != nil {
			return err
		}
		defer body.Close()
		from := &source{Reader: body}
		err = agent.PutArchive(ctx, d.Archive, from, size)
		if cut := from.failure(); cut != nil {
			if breaks++; breaks < maxBreaks {
				return &gitlab.Error{Op: "receive the archive", Err: cut} // as if it had not been there at all
			}
			return fmt.Errorf("the transfer broke off %d times: %w", breaks, cut)
		}
		return err
	})
	if err != nil {
		return refused(fmt.Errorf("download the artifacts of job %q (%d): %w", d.Job.Name, d.Job.ID, err))
	}
	return nil
}

// maxBreaks is how often the download of one archive may break off in the middle.
const maxBreaks = 10

// source is an archive on its way from the coordinator; it tells the coordinator's errors from the agent's.
type source struct {
	io.Reader
	err atomic.Pointer[error] // the connection to the agent reads beside us
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err.Store(&err)
	}
	return n, err
}

func (s *source) failure() error {
	if err := s.err.Load(); err != nil {
		return *err
	}
	return nil
}

// retry calls try until it succeeds: as often as attempts says when the coordinator refuses, and for as
// long as an outage may last when it cannot be reached or is overloaded.
func (x *execution) retry(ctx context.Context, attempts int, try func() error) error {
	begun := time.Now()
	refused := 0
	for wait := 500 * time.Millisecond; ; wait = min(2*wait, 30*time.Second) {
		err := try()
		if err == nil || cause(ctx) != nil {
			return first(cause(ctx), err)
		}
		if !gitlab.Retryable(err) {
			if refused++; refused >= max(1, attempts) || permanent(err) {
				return err
			}
		}
		if time.Since(begun) > outage {
			return err
		}
		var failed *gitlab.Error
		if errors.As(err, &failed) && failed.RetryAfter > wait {
			wait = failed.RetryAfter
		}
		if !sleep(ctx, wait) {
			return cause(ctx)
		}
	}
}

// permanent reports whether the coordinator will never take what it has refused.
func permanent(err error) bool {
	for _, e := range []error{gitlab.ErrTooLarge, gitlab.ErrJobGone, gitlab.ErrArtifactExists} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// refused makes the job's own failure of what the coordinator has refused: GitLab Runner's helper ends
// with exit code 1 then. Errors of the network, the server or the agent stay as they are.
func refused(err error) error {
	var answer *gitlab.Error
	if errors.As(err, &answer) && !gitlab.Retryable(err) {
		return &executor.Failure{Reason: job.ReasonScript, Err: err}
	}
	return err
}

// cleanup removes file variables, and what else the job wants removed, when there still is a place to
// do it in.
func (x *execution) cleanup(ctx context.Context, err error) {
	if x.places.failure() != nil || lost(err) || errors.Is(err, ErrDetach) {
		return
	}
	if x.mayHold(err) {
		x.announceHold()
		return
	}
	limit, late := cleanupTime, context.DeadlineExceeded
	if errors.Is(err, ErrShutdown) {
		limit, late = stopTime, ErrShutdown
	}
	after, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), limit, late)
	defer cancel()
	after, leave := context.WithCancelCause(after)
	defer leave(nil)
	defer context.AfterFunc(ctx, func() {
		if errors.Is(context.Cause(ctx), ErrDetach) {
			leave(ErrDetach)
		}
	})()
	x.places.extend(after, limit)
	if err := x.simple(after, x.plan.Cleanup()); err != nil && !errors.Is(err, ErrDetach) {
		x.log.Warn("File variables could not be removed from the job's directory", "error", err)
	}
}
