// Package call takes requests through a programme of faults: it reads them, lets handlers answer
// and sends the answer, or does what a fault says instead.
package call

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"gitlab.com/skerry/skerry/internal/gitlab"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/clock"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/fault"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/store"
)

// Call is one request on its way. A handler fills in the answer.
type Call struct {
	Request  *http.Request
	Endpoint string
	Job      int64  // from the path; 0 for none
	State    string // what faults can select by, set by Hooks.Read
	Body     []byte
	Upload   *store.Upload // of artifact uploads, instead of Body
	Fault    *fault.Fault  // nil for none

	Status int
	Header http.Header
	Answer []byte
	File   string // path of a file to answer instead of Answer
}

// Fail answers an error in GitLab's form.
func (k *Call) Fail(status int, message string) {
	k.JSON(status, gitlab.Message{Message: message})
}

// JSON answers v.
func (k *Call) JSON(status int, v any) {
	k.Status = status
	k.Header.Set("Content-Type", "application/json")
	k.Answer, _ = json.Marshal(v) // our own types, which marshal
}

// Text answers the status as text, as GitLab does where there is nothing to say.
func (k *Call) Text(status int) {
	k.Status = status
	k.Header.Set("Content-Type", "text/plain")
	k.Answer = []byte(strconv.Itoa(status))
}

// Hooks is what a Server needs of whoever handles its calls.
type Hooks interface {
	// Check looks at a request before its body is read.
	Check(k *Call)
	// Read reads the body; an error means that the client is gone.
	Read(k *Call) error
	// Strike is called when k.Fault takes effect. It loses of the job's trace what the fault says,
	// and returns how long the trace is.
	Strike(k *Call) int64
	// Undelivered is called when k was handled, but its answer will not arrive.
	Undelivered(k *Call)
	// RateLimited is called when the answer to k says that the client has to wait.
	RateLimited(k *Call, wait time.Duration)
}

// Server makes http handlers of handlers of calls.
type Server struct {
	Faults  fault.Plan
	Hooks   Hooks
	Clock   clock.Clock
	Scale   float64         // divides the waits of faults
	Closing <-chan struct{} // ends every wait
	// Late is the endpoint whose faults are chosen after the body was read, by the call's State.
	Late string
}

// Route makes an http handler of h.
func (s *Server) Route(endpoint string, h func(*Call)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		k := &Call{Request: r, Endpoint: endpoint, Header: http.Header{}}
		k.Job, _ = strconv.ParseInt(r.PathValue("id"), 10, 64)
		s.Hooks.Check(k)
		if endpoint != s.Late {
			k.Fault = s.Faults.Take(endpoint, k.Job, "")
		}
		if k.Fault != nil && k.Fault.Slow > 0 {
			r.Body = &slowBody{ReadCloser: r.Body, s: s, k: k}
		}
		defer func() { k.Upload.Remove() }()
		if err := s.Hooks.Read(k); err != nil {
			return // the client went away in the middle; nothing was handled
		}
		if endpoint == s.Late {
			k.Fault = s.Faults.Take(endpoint, k.Job, k.State)
		}
		if f := k.Fault; f != nil && f.Then != nil {
			defer f.Then()
		}
		if f := k.Fault; f != nil && f.Do != nil {
			defer func() { f.Do(k.Job) }()
		}
		if !s.Before(k) {
			Cut(w)
			return
		}
		if k.Status == 0 {
			h(k)
		}
		if !s.after(k) {
			Cut(w)
			return
		}
		s.Send(w, k)
	}
}

// Before applies what a fault does ahead of the handler, which is not called when it sets k.Status;
// false means that the connection is to be cut.
func (s *Server) Before(k *Call) bool {
	f := k.Fault
	if f == nil {
		return true
	}
	size := s.Hooks.Strike(k)
	if f.Handle {
		return true
	}
	if !s.hold(k, f.Wait) || f.Cut {
		return false
	}
	s.replace(k, size)
	return true
}

// after applies what a fault does once the request has been handled; false cuts the connection.
func (s *Server) after(k *Call) bool {
	f := k.Fault
	if f == nil || !f.Handle {
		return true
	}
	if f.Cut || f.Status != 0 || f.Partial > 0 {
		s.Hooks.Undelivered(k)
	}
	if !s.hold(k, f.Wait) || f.Cut {
		return false
	}
	s.replace(k, 0)
	return true
}

// replace makes the fault's answer the call's.
func (s *Server) replace(k *Call, size int64) {
	f := k.Fault
	if f.Status == 0 {
		return
	}
	if f.Status >= http.StatusBadRequest {
		k.Fail(f.Status, fmt.Sprintf("%d %s", f.Status, http.StatusText(f.Status)))
	} else {
		k.Text(f.Status)
	}
	if f.Body != "" {
		k.Answer = []byte(f.Body)
	}
	if f.Status == http.StatusRequestedRangeNotSatisfiable {
		k.Header.Set("Range", fmt.Sprintf("0-%d", size))
	}
	for name, v := range f.Header {
		k.Header[http.CanonicalHeaderKey(name)] = v
	}
	if n, err := strconv.Atoi(k.Header.Get("Retry-After")); err == nil {
		s.Hooks.RateLimited(k, time.Duration(n)*time.Second)
	}
}

// hold waits for d, and says whether both sides are still there.
func (s *Server) hold(k *Call, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	over, stop := s.Clock.After(time.Duration(float64(d) / s.Scale))
	defer stop()
	select {
	case <-over:
		return true
	case <-k.Request.Context().Done():
	case <-s.Closing:
	}
	return false
}

// Cut ends the connection without an answer.
func Cut(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) //nolint:forbidigo // net/http's own way to abort where a connection cannot be taken over
	}
	_ = conn.Close() // that is the point
}
