package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"gitlab.com/skerry/skerry/internal/agent/spool"
	"gitlab.com/skerry/skerry/internal/agent/wire"
	"gitlab.com/skerry/skerry/internal/stage"
)

// maxWait is the longest that a question for a stage's status waits.
const maxWait = 55 * time.Second

// isEndless reports whether a request may last for as long as the runner likes.
func isEndless(r *http.Request) bool {
	return strings.HasSuffix(r.URL.Path, "/spool") || r.URL.Path == "/v1/terminals"
}

// find answers 404 when there is no such stage.
func (a *Agent) find(w http.ResponseWriter, r *http.Request) *run {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.stages[r.PathValue("id")]
	if s == nil {
		refuse(w, http.StatusNotFound, fmt.Errorf("stage %q has not been started", r.PathValue("id")))
	}
	return s
}

func (a *Agent) serveStart(w http.ResponseWriter, r *http.Request) {
	var spec stage.Spec
	if !decode(w, r, &spec) {
		return
	}
	id := r.PathValue("id")
	if !wire.ValidID(id) || spec.ID != id {
		refuse(w, http.StatusBadRequest, fmt.Errorf("stage id %q in the path and %q in the body: want the same, at most %d of a-z 0-9 _ . -", id, spec.ID, wire.MaxID))
		return
	}
	s, err := a.start(r.Context(), spec)
	switch {
	case errors.Is(err, errEnding):
		refuse(w, http.StatusServiceUnavailable, err)
	case err != nil:
		refuse(w, http.StatusInternalServerError, err)
	default:
		answer(w, wire.Started{At: s.at})
	}
}

func (a *Agent) serveStatus(w http.ResponseWriter, r *http.Request) {
	seconds, err := strconv.Atoi(r.URL.Query().Get("wait"))
	if err != nil || seconds < 0 {
		seconds = 0
	}
	a.mu.Lock()
	s := a.stages[r.PathValue("id")]
	a.mu.Unlock()
	if s == nil {
		answer(w, wire.Status{})
		return
	}
	if seconds > 0 && !s.over() {
		t := time.NewTimer(min(time.Duration(min(seconds, 60))*time.Second, maxWait))
		defer t.Stop()
		select {
		case <-s.done:
		case <-t.C:
		case <-r.Context().Done():
			if errors.Is(context.Cause(r.Context()), errFenced) {
				refuse(w, http.StatusGone, errFenced)
			}
			return // else the peer is gone
		}
	}
	st := wire.Status{Known: true, At: s.at, Over: s.over()}
	if st.Over {
		st.Result = &s.result
	}
	answer(w, st)
}

// serveSpool streams the spool. A stream that must end before the End record is reset, so that the
// runner cannot take it for whole.
func (a *Agent) serveSpool(w http.ResponseWriter, r *http.Request) {
	s := a.find(w, r)
	if s == nil {
		return
	}
	from, err := strconv.ParseInt(r.URL.Query().Get("from"), 10, 64)
	if err != nil {
		refuse(w, http.StatusBadRequest, fmt.Errorf("from is %q, want an offset", r.URL.Query().Get("from")))
		return
	}
	f, err := s.spool.Follow(r.Context(), from)
	if err != nil {
		refuse(w, http.StatusRequestedRangeNotSatisfiable, err)
		return
	}
	defer func() { _ = f.Close() }()
	w.Header().Set("Content-Type", "application/octet-stream")
	w.WriteHeader(http.StatusOK)
	flusher := http.NewResponseController(w)
	if flusher.Flush() != nil {
		panic(http.ErrAbortHandler) //nolint:forbidigo // net/http's way to reset a stream
	}
	buf := make([]byte, spool.MaxData)
	for last := time.Now(); ; last = time.Now() {
		n, err := f.Read(buf)
		if errors.Is(err, io.EOF) {
			return
		}
		if err == nil {
			_, err = w.Write(buf[:n])
		}
		if err == nil {
			err = flusher.Flush()
		}
		if err != nil {
			panic(http.ErrAbortHandler) //nolint:forbidigo // net/http's way to reset a stream
		}
		if n < trickle && time.Since(last) < gather {
			s.gather(r.Context())
		}
	}
}

// A script that prints line by line as fast as it can must not cost a frame and two wake-ups a line:
// while less than trickle bytes come within gather, what comes is gathered for so long.
const (
	trickle = 4 << 10
	gather  = 2 * time.Millisecond
)

func (r *run) gather(ctx context.Context) {
	t := time.NewTimer(gather)
	defer t.Stop()
	select {
	case <-t.C:
	case <-r.done:
	case <-ctx.Done():
	}
}

func (a *Agent) serveAck(w http.ResponseWriter, r *http.Request) {
	s := a.find(w, r)
	if s == nil {
		return
	}
	to, err := strconv.ParseInt(r.URL.Query().Get("to"), 10, 64)
	if err == nil {
		err = s.spool.Ack(to)
	}
	if err != nil {
		refuse(w, http.StatusBadRequest, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (a *Agent) serveCancel(w http.ResponseWriter, r *http.Request) {
	var c wire.Cancel
	if !decode(w, r, &c) {
		return
	}
	e := &early{reason: stage.Canceled, message: "The job was canceled.", grace: max(c.Grace, 0)}
	if c.Reason == stage.Timeout {
		e.reason, e.message = stage.Timeout, "The stage took longer than its time limit."
	}
	a.mu.Lock()
	s := a.stages[r.PathValue("id")]
	a.mu.Unlock()
	if s != nil {
		s.end(e, e.grace)
	}
	w.WriteHeader(http.StatusNoContent)
}
