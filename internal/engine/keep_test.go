package engine_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/engine"
	"gitlab.com/skerry/skerry/internal/executor/fake"
	"gitlab.com/skerry/skerry/internal/gitlab"
	"gitlab.com/skerry/skerry/internal/job"
	"gitlab.com/skerry/skerry/internal/stage"
)

// Artifacts are uploaded while caches are being saved; the log tells of them in GitLab Runner's order, and a
// process that takes over in between uploads nothing again.
func TestKeepSideBySide(t *testing.T) {
	t.Parallel()
	undisturbed := ""
	bubble(t, one((&recorder{}).script("", nil)), func(b *bench) { undisturbed = withoutTimes(runWhole(b, nil).text()) })
	for _, detach := range []bool{false, true} {
		t.Run(map[bool]string{false: "one process", true: "two processes"}[detach], func(t *testing.T) {
			t.Parallel()
			r := &recorder{}
			var uploaded, release chan struct{} // of the bubble
			bubble(t, func(*job.Job) fake.Script {
				return r.script("archive_cache", fake.Hold(nil, release, fake.Claim(stage.Result{})))
			}, func(b *bench) {
				uploaded, release = make(chan struct{}), make(chan struct{})
				a, c := b.job(whole())
				withDownload(c)
				c.upload = func(gitlab.ArtifactUpload, int) error { close(uploaded); return nil } // once
				ctx, cancel := context.WithCancelCause(b.t.Context())
				go func() {
					<-uploaded
					time.AfterFunc(time.Minute, func() { close(release) })
					if detach {
						<-time.After(time.Second)
						cancel(engine.ErrDetach)
					}
				}()
				err := b.engine.Run(ctx, a)
				if detach {
					if !errors.Is(err, engine.ErrDetach) {
						t.Fatalf("Run: %v", err)
					}
					b.restart()
				} else if err != nil {
					t.Fatalf("Run: %v", err)
				}
				r.expect(t, c, "success", "", 0, stages()...)
				if got := withoutTimes(c.text()); got != undisturbed || c.sent["archive"] != "content" {
					t.Errorf("sent %v, and the log differs from an undisturbed one:\n%s\n----\n%s", c.sent, got, undisturbed)
				}
			})
		})
	}
}
