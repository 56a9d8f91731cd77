package trace

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"
)

// Patcher sends a piece of the log to the coordinator (PATCH /jobs/:id/trace).
type Patcher interface {
	// PatchTrace sends body as the bytes of the log from start on. Errors: an *OffsetError when the
	// coordinator wants another start (416), ErrGone when the job is no longer ours (403, 404), ErrTooLarge when
	// the piece is more than something on the way takes (413); any other is tried again, after the time that a RetryAfter method on it says if there is one.
	// Patched.Status counts beside an error too.
	PatchTrace(ctx context.Context, body []byte, start int64) (Patched, error)
}

// Patched is the coordinator's answer to a piece of the log.
type Patched struct {
	Offset   int64         // where to go on; a value outside the piece means its end
	Interval time.Duration // how long to wait before the next piece; 0 leaves it to us
	Status   string        // Job-Status: "running", "canceling", "canceled", "failed"; may be empty
}

// OffsetError is a piece that does not continue what the coordinator has.
type OffsetError struct{ Offset int64 } // where it wants us to go on

func (e *OffsetError) Error() string {
	return fmt.Sprintf("the coordinator has %d bytes of the log", e.Offset)
}

// ErrGone is a job that the coordinator does not take anything for any more.
var ErrGone = errors.New("the coordinator takes no more log for this job")

// ErrTooLarge is a piece of the log that was refused for its size.
var ErrTooLarge = errors.New("the piece of the log is too large")

// UploadOptions are the ways in which Upload talks back.
type UploadOptions struct {
	OnStatus func(status string) // called with each job status that an answer carries; may be nil
}

const (
	maxPatch      = 1 << 20 // GitLab Runner's largest piece
	minPatch      = 4 << 10 // what is refused for its size beyond that is not refused for its size
	firstInterval = time.Second
	ownInterval   = 3 * time.Second // GitLab Runner's
	maxInterval   = time.Minute
	maxBackoff    = time.Minute
)

// Upload sends the log as it grows, in pieces of at most 1 MiB, each from the file, at the pace that
// the coordinator asks for, or else every 3 s at first and up to once a minute as the job gets older;
// whole pieces and the end of the log are sent at once. What fails is tried again with growing pauses.
// It returns nil when all of a complete log has been accepted, ErrGone when the job is gone, and the
// cause of ctx's end. A later Upload, also in another process, goes on where the last one ended.
// Of a log that was made anew because its files are lost, nothing is left out that the coordinator lacks: it comes
// behind what that has (see behind).
func (t *Trace) Upload(ctx context.Context, p Patcher, o UploadOptions) error {
	u := &upload{t: t, p: p, o: o, interval: ownInterval, piece: maxPatch}
	s, known := t.loadSent()
	u.sent, u.tried = s.sent, s.tried
	u.anew = t.anew && !known
	u.next = t.clock.Now().Add(firstInterval)
	for {
		n, err := u.await(ctx)
		if err != nil || n == 0 {
			return err
		}
		if err := u.send(ctx, n); err != nil {
			return err
		}
	}
}

// Resend forgets what has been accepted, for a coordinator that says it has lost it; the next Upload
// begins at offset from.
func (t *Trace) Resend(from int64) error { return t.storeSent(from, from) }

// errForeign is a coordinator that has more of the log than was ever sent from the files that are there.
var errForeign = errors.New("the coordinator has a log that is not on file")

type upload struct {
	t        *Trace
	p        Patcher
	o        UploadOptions
	sent     int64         // what the coordinator has taken
	tried    int64         // what it may have: pieces whose answer is not known
	anew     bool          // nothing is known of what it had before
	piece    int64         // the largest that is sent
	interval time.Duration // our own
	next     time.Time     // not before, unless there is reason
	failures int
}

// await returns the size of the next piece once it is due, 0 when everything has been sent.
func (u *upload) await(ctx context.Context) (int64, error) {
	for {
		changed := u.t.Changed()
		size, _, complete := u.t.Size()
		n := min(size-u.sent, u.piece)
		left := u.next.Sub(u.t.clock.Now())
		var due <-chan time.Time
		switch {
		case ctx.Err() != nil:
			return 0, context.Cause(ctx)
		case complete && n <= 0:
			return 0, nil
		case n > 0 && u.failures == 0 && (complete || n == u.piece), n > 0 && left <= 0:
			return n, nil
		case n > 0:
			due = u.t.clock.After(left)
		}
		if n > 0 && u.failures > 0 {
			changed = nil // more output is no reason to try sooner
		}
		select {
		case <-changed:
		case <-due:
		case <-ctx.Done():
		}
	}
}

// send sends one piece. It returns an error only when there is no use in going on.
func (u *upload) send(ctx context.Context, n int64) error {
	body := make([]byte, n)
	if _, err := u.t.ReadAt(body, u.sent); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	before, tried := u.t.behind(), u.tried
	u.try(u.sent + n)
	res, err := u.p.PatchTrace(ctx, body, before+u.sent)
	res.Offset -= before
	var other *OffsetError
	if errors.As(err, &other) && u.anew && u.sent == 0 && other.Offset > tried {
		err = u.goBehind(ctx, other.Offset)
	}
	if res.Status != "" && u.o.OnStatus != nil {
		u.o.OnStatus(res.Status)
	}
	now := u.t.clock.Now()
	switch {
	case errors.Is(err, errForeign):
		u.next = now
	case err == nil:
		end := u.sent + n
		if res.Offset > u.sent && res.Offset < end {
			end = res.Offset
		}
		u.accepted(end)
		u.failures = 0
		u.next = now.Add(u.pace(res.Interval))
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, ErrGone):
		return err
	case errors.As(err, &other) && other.Offset >= 0 && other.Offset != before+u.sent && u.failures == 0:
		u.t.log.Info("the coordinator asks for another part of the log", "sent", before+u.sent, "wanted", other.Offset)
		u.accepted(max(other.Offset-before, 0))
		u.failures, u.next = 1, now // a second disagreement waits
	case errors.Is(err, ErrTooLarge) && n > minPatch:
		u.piece = max(min(n, u.piece)/2, minPatch)
		u.next = now
		u.t.log.Info("a piece of the log was too large for the coordinator; smaller ones are sent", "size", n, "next", u.piece)
	default:
		if errors.As(err, &other) && other.Offset >= 0 {
			u.accepted(max(other.Offset-before, 0))
		}
		u.failures++
		u.next = now.Add(u.backoff(err))
		u.t.log.Warn("the log was not accepted; trying again", "at", u.sent, "failures", u.failures, "error", err)
	}
	return nil
}

func (u *upload) pace(asked time.Duration) time.Duration {
	if asked > 0 {
		return min(asked, maxInterval)
	}
	now := u.interval
	u.interval = min(u.interval+u.interval/8, maxInterval)
	return now
}

func (u *upload) backoff(err error) time.Duration {
	var asks interface{ RetryAfter() time.Duration }
	if errors.As(err, &asks) && asks.RetryAfter() > 0 {
		return asks.RetryAfter()
	}
	d := min(firstRetry<<min(u.failures-1, 20), maxBackoff)
	return d/2 + rand.N(d/2+1) //nolint:gosec // jitter is no secret
}

func (u *upload) accepted(to int64) {
	u.sent, u.tried, u.anew = to, to, false
	u.store()
}

// try notes that the coordinator may soon have the log up to that byte, whether or not its answer arrives.
func (u *upload) try(to int64) {
	if to > u.tried {
		u.tried = to
		u.store()
	}
}

func (u *upload) store() {
	if err := u.t.storeSent(u.sent, u.tried); err != nil {
		u.t.log.Debug("how much of the log was accepted is not on file", "error", err)
	}
}
