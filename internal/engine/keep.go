package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"gitlab.com/skerry/skerry/internal/agent/client"
	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/gitlab"
	"gitlab.com/skerry/skerry/internal/plan"
	"gitlab.com/skerry/skerry/internal/stage"
)

// keep keeps what the job made: it saves caches and uploads artifacts, side by side, their logs in order.
//
// Everything about the artifacts that shows in the log waits until the caches are saved. So the stage that
// packs them runs ahead, its output stays in its spool, and what is sent meanwhile is marked: then the
// stage's own turn finds it done. A process that dies in between leaves nothing that its successor would not do itself.
func (x *execution) keep(ctx context.Context, success bool) error {
	st, uploads := x.plan.Pack(success, x.begun)
	ahead := make(chan outcomes, 1)
	if x.mayRunAhead(success, st, uploads) {
		go func() { ahead <- x.uploadAhead(ctx, st, uploads) }()
	} else {
		ahead <- nil
	}
	err := x.saveCache(ctx, success)
	return first(err, x.uploadArtifacts(ctx, st, uploads, ahead))
}

// mayRunAhead reports whether there is something to be done side by side. A statement about artifacts is
// written into the project directory, where caches must not find it.
func (x *execution) mayRunAhead(success bool, st plan.Step, uploads []plan.Upload) bool {
	_, caches, err := x.plan.SaveCache(success)
	return err == nil && caches && len(uploads) > 0 &&
		!slices.ContainsFunc(st.Spec.Pack.Archives, func(a stage.PackOne) bool { return a.Metadata != nil })
}

// outcomes is what became of uploads, by the archive's name; there is none of one that was not tried.
type outcomes map[string]error

// uploadAhead packs and sends artifacts before it is their turn in the log. What goes wrong with the
// stage itself is found out again, and reported, when it is.
func (x *execution) uploadAhead(ctx context.Context, st plan.Step, uploads []plan.Upload) outcomes {
	agent, err := x.places.agent(ctx, executor.Helper)
	if err != nil {
		return nil
	}
	st.Spec.Timeout = st.Timeout
	if _, err := start(ctx, agent, st.Spec); err != nil {
		return nil
	}
	res, err := x.await(ctx, agent, executor.Helper, st)
	if err != nil || res.Reason != stage.Success {
		return nil
	}
	return x.sendAll(ctx, agent, st, uploads, res.Archives, nil)
}

// saveCache runs the stage that saves caches. A cache that cannot be saved does not fail the job.
func (x *execution) saveCache(ctx context.Context, success bool) error {
	st, due, err := x.plan.SaveCache(success)
	if err != nil || !due {
		return err
	}
	return x.simple(ctx, st)
}

// uploadArtifacts packs the artifacts that are due and sends them, but for what was sent ahead, which it waits
// for. An archive is made once and kept by the agent until the coordinator has it, so that every attempt
// sends the same bytes.
func (x *execution) uploadArtifacts(ctx context.Context, st plan.Step, uploads []plan.Upload, ahead <-chan outcomes) error {
	if len(uploads) == 0 {
		return nil
	}
	res, err := x.stageOpen(ctx, executor.Helper, st)
	before := <-ahead
	if err == nil {
		err = x.sendRest(ctx, st, uploads, res.Archives, before)
	}
	if errors.Is(err, ErrDetach) {
		return err
	}
	x.closeSection(st, time.Now().UnixMicro())
	return err
}

// sendRest sends what was not sent ahead and says in the log what became of each archive.
func (x *execution) sendRest(ctx context.Context, st plan.Step, uploads []plan.Upload, made []stage.Archive, before outcomes) error {
	agent, err := x.places.agent(ctx, executor.Helper)
	if err != nil {
		return x.placeError(ctx, executor.Helper, st.Name, err)
	}
	sent := x.sendAll(ctx, agent, st, uploads, made, before)
	var failed error
	for _, u := range uploads {
		err, tried := sent[u.Archive]
		switch {
		case !tried:
		case err != nil && cause(ctx) != nil:
			return cause(ctx)
		case err != nil:
			x.note(key(st, "failed/"+u.Archive), red+"ERROR: Uploading artifacts as "+quoted(u)+" to coordinator... failed: "+words(err.Error(), maxWords)+reset)
			failed = first(failed, refused(fmt.Errorf("upload artifacts as %s: %w", quoted(u), err)))
		default:
			x.note(key(st, "sent/"+u.Archive), fmt.Sprintf("Uploading artifacts as %s to coordinator... 201 Created  id=%d", quoted(u), x.plan.Job.ID))
		}
	}
	return failed
}

// sendAll sends the archives that were made, in order, but for those that were sent before.
func (x *execution) sendAll(ctx context.Context, agent *client.Client, st plan.Step, uploads []plan.Upload, made []stage.Archive, before outcomes) outcomes {
	sent := outcomes{}
	for _, u := range uploads {
		// The first one of a name counts: an agent may claim any number.
		i := slices.IndexFunc(made, func(a stage.Archive) bool { return a.Name == u.Archive })
		if i < 0 {
			continue
		}
		err, tried := before[u.Archive]
		if !tried && !x.trace.Has(key(st, "accepted/"+u.Archive)) && !x.trace.Has(key(st, "sent/"+u.Archive)) {
			if err = x.send(ctx, agent, st, u, made[i]); err == nil {
				x.mark(key(st, "accepted/"+u.Archive))
			}
		}
		sent[u.Archive] = err
		if cause(ctx) != nil {
			break
		}
	}
	return sent
}

func quoted(u plan.Upload) string { return fmt.Sprintf("%q", u.Titled) }

// send sends one archive. GitLab refuses a second archive of a type unless it is the same; when an
// earlier attempt went unanswered, that refusal means that the coordinator has it.
func (x *execution) send(ctx context.Context, agent *client.Client, st plan.Step, u plan.Upload, a stage.Archive) error {
	if err := checkArchive(a); err != nil {
		return err
	}
	sending := key(st, "sending/"+a.Name+"/"+a.SHA256)
	again := x.trace.Has(sending)
	x.mark(sending)
	return x.retry(ctx, 3, func() error {
		tried := again
		again = true
		return x.api.UploadArtifact(ctx, gitlab.ArtifactUpload{
			Name: u.Filename, Type: u.Artifact.Type, Format: u.Artifact.Format, ExpireIn: x.plan.Expand(u.Artifact.ExpireIn),
			Size: a.Size, Unanswered: tried,
			Open: func() (io.ReadCloser, error) {
				body, size, err := agent.GetArchive(ctx, a.Name, 0)
				if err == nil && size != a.Size {
					err = errors.Join(fmt.Errorf("the archive has %d bytes, and had %d when it was made", size, a.Size), body.Close())
				}
				return body, err
			},
		})
	})
}
