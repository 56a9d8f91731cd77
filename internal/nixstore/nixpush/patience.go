package nixpush

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

const (
	// usualPatience is how long a server may take for anything: a piece of what it is sent, or its answer.
	usualPatience = 2 * time.Minute
	// slowest is how many bytes a second a server puts away at least that answers when it has done so.
	slowest = 4 << 20
)

// errStalled is a server that goes on with nothing: whoever waits for it keeps others from pushing.
var errStalled = errors.New("the server takes too long")

// watch ends what is done with a server, with errStalled, once nothing has gone on for so long.
type watch struct {
	ctx             context.Context //nolint:containedctx // of what is watched
	cancel          context.CancelCauseFunc
	timer           *time.Timer
	sending, answer time.Duration
}

// watchKey is that of a context's watch.
type watchKey struct{}

// begin begins a watch over something by which so many bytes are sent. That is done with the watch's context, through the transport of
// watched, and the caller ends it.
func begin(ctx context.Context, patience time.Duration, size int64) *watch {
	w := &watch{sending: patience, answer: patience + time.Duration(size/slowest)*time.Second}
	ctx, w.cancel = context.WithCancelCause(ctx)
	w.ctx = context.WithValue(ctx, watchKey{}, w)
	w.timer = time.AfterFunc(patience, func() { w.cancel(fmt.Errorf("%w: nothing goes on for %s", errStalled, patience)) })
	return w
}

// end ends the watch, and returns why what was watched has failed.
func (w *watch) end(err error) error {
	w.timer.Stop()
	cause := context.Cause(w.ctx)
	w.cancel(nil)
	if err != nil && errors.Is(cause, errStalled) {
		return cause
	}
	return err
}

// watched is a transport that shows a request's watch each piece that a server takes.
type watched struct{ *http.Transport }

// RoundTrip implements http.RoundTripper.
func (t watched) RoundTrip(r *http.Request) (*http.Response, error) {
	w, _ := r.Context().Value(watchKey{}).(*watch)
	if w == nil || r.Body == nil || r.Body == http.NoBody {
		return t.Transport.RoundTrip(r)
	}
	r = r.Clone(r.Context())
	r.Body = &taken{r.Body, w}
	if again := r.GetBody; again != nil {
		r.GetBody = func() (io.ReadCloser, error) {
			b, err := again()
			return &taken{b, w}, err
		}
	}
	return t.Transport.RoundTrip(r)
}

// taken is content of which the transport takes a piece when the one before is on its way.
type taken struct {
	io.ReadCloser

	w *watch
}

// Read implements io.Reader.
func (t *taken) Read(b []byte) (int, error) {
	n, err := t.ReadCloser.Read(b)
	if err == nil {
		t.w.timer.Reset(t.w.sending)
	} else {
		t.w.timer.Reset(t.w.answer)
	}
	return n, err
}
