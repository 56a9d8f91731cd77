package gitlabtest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"gitlab.com/skerry/skerry/internal/gitlab"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/breach"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/fault"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/store"
)

// The endpoints, as faults name them.
const (
	EndpointRegister   = "register"   // POST /runners
	EndpointUnregister = "unregister" // DELETE /runners and /runners/managers
	EndpointVerify     = "verify"     // POST /runners/verify
	EndpointReset      = "reset"      // POST /runners/reset_authentication_token
	EndpointDiscovery  = "discovery"  // GET /runners/router/discovery
	EndpointRequest    = "request"    // POST /jobs/request
	EndpointUpdate     = "update"     // PUT /jobs/:id
	EndpointTrace      = "trace"      // PATCH /jobs/:id/trace
	EndpointUpload     = "upload"     // POST /jobs/:id/artifacts
	EndpointDownload   = "download"   // GET /jobs/:id/artifacts
	EndpointStorage    = "storage"    // object storage, where a direct download is redirected to
	EndpointGit        = "git"        // a repository
	EndpointUnknown    = "unknown"
)

// call is one request on its way. A handler fills in the answer; route sends it, or what a fault
// makes of it.
type call struct {
	r        *http.Request
	endpoint string
	job      int64  // from the path; 0 for none
	body     []byte // of JSON and patches
	upload   *store.Upload
	fault    *fault.Fault

	status int
	header http.Header
	answer []byte
	file   string // answered instead of answer, and closed by route
}

var requestID = regexp.MustCompile(`^[0-9a-fA-F]{32}$`)

func patternOf(s string) string {
	method, path, _ := strings.Cut(s, " ")
	return method + " " + gitlab.APIPath + path
}

// route makes an http handler of h.
func (c *Coordinator) route(endpoint string, h func(*call)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		k := &call{r: r, endpoint: endpoint, header: http.Header{}}
		k.job, _ = strconv.ParseInt(r.PathValue("id"), 10, 64)
		c.checkRequest(k)
		if endpoint != EndpointUpdate {
			k.fault = c.faults.Take(endpoint, k.job, "")
		}
		defer func() { k.upload.Remove() }()
		if err := c.readBody(k); err != nil {
			return // the client went away in the middle; nothing was handled
		}
		if endpoint == EndpointUpdate {
			k.fault = c.faults.Take(endpoint, k.job, k.state())
		}
		if f := k.fault; f != nil {
			if f.Then != nil {
				defer f.Then()
			}
			if !c.before(k) {
				c.cut(w)
				return
			}
		}
		if k.status == 0 {
			h(k)
		}
		if k.fault != nil && !c.after(k) {
			c.cut(w)
			return
		}
		c.send(w, k)
	}
}

// checkRequest checks what holds for every call of the API.
func (c *Coordinator) checkRequest(k *call) {
	if k.endpoint == EndpointStorage {
		return
	}
	if id := k.r.Header.Get(gitlab.HeaderRequestID); !requestID.MatchString(id) {
		c.breach(breach.RequestID, k.job, "%s %s: %s is %q, not 32 hex digits", k.r.Method, k.r.URL.Path, gitlab.HeaderRequestID, id)
	} else {
		k.header.Set(gitlab.HeaderRequestID, id)
	}
	key := k.endpoint + " " + k.r.URL.Path + " " + k.r.Header.Get(gitlab.HeaderRunnerToken) + k.r.Header.Get(gitlab.HeaderJobToken)
	c.mu.Lock()
	at := c.notBefore[key]
	delete(c.notBefore, key)
	c.mu.Unlock()
	const slack = 20 * time.Millisecond // of two clocks and their rounding
	if early := at.Sub(c.opts.Clock.Now()); early > slack {
		c.breach(breach.TooSoon, k.job, "%s %s: %v before Retry-After was over", k.r.Method, k.r.URL.Path, early.Round(time.Millisecond))
	}
}

func (c *Coordinator) readBody(k *call) (err error) {
	if k.fault != nil && k.fault.Slow > 0 {
		k.r.Body = &slowBody{ReadCloser: k.r.Body, c: c, k: k}
	}
	if k.endpoint == EndpointUpload {
		k.upload, err = c.receive(k)
		return err
	}
	k.body, err = io.ReadAll(io.LimitReader(k.r.Body, maxJSON))
	return err
}

// state is what faults can select by: the state of an update.
func (k *call) state() string {
	if k.endpoint != EndpointUpdate {
		return ""
	}
	var u struct {
		State string `json:"state"`
	}
	_ = json.Unmarshal(k.body, &u) // the handler says what is wrong with it
	return u.State
}

// decode reads the JSON body, and answers 400 when it is none.
func (c *Coordinator) decode(k *call, v any) bool {
	if ct := k.r.Header.Get("Content-Type"); !strings.HasPrefix(ct, "application/json") {
		c.breach(breach.ContentType, k.job, "%s %s: Content-Type is %q, not application/json", k.r.Method, k.r.URL.Path, ct)
	}
	if err := json.Unmarshal(k.body, v); err != nil {
		c.breach(breach.Body, k.job, "%s %s: %v", k.r.Method, k.r.URL.Path, err)
		k.fail(http.StatusBadRequest, "400 Bad request - "+err.Error())
		return false
	}
	return true
}

func (k *call) fail(status int, message string) {
	k.json(status, gitlab.Message{Message: message})
}

func (k *call) json(status int, v any) {
	k.status = status
	k.header.Set("Content-Type", "application/json")
	k.answer, _ = json.Marshal(v) // our own types, which marshal
}

func (k *call) text(status int) {
	k.status = status
	k.header.Set("Content-Type", "text/plain")
	k.answer = []byte(strconv.Itoa(status))
}

// before applies what a fault does ahead of the handler; false cuts the connection.
func (c *Coordinator) before(k *call) bool {
	f := k.fault
	if f.Lose {
		c.lose(k.job, f.Truncate)
	}
	if f.Handle {
		return true
	}
	if !c.hold(k.r.Context(), f.Wait) || f.Cut {
		return false
	}
	c.replace(k)
	return true
}

// after applies what a fault does once the request has been handled; false cuts the connection.
func (c *Coordinator) after(k *call) bool {
	f := k.fault
	if !f.Handle {
		return true
	}
	if f.Cut || f.Status != 0 {
		c.undelivered(k)
	}
	if !c.hold(k.r.Context(), f.Wait) || f.Cut {
		return false
	}
	c.replace(k)
	return true
}

// replace makes the fault's answer the call's.
func (c *Coordinator) replace(k *call) {
	f := k.fault
	if f.Status == 0 {
		return
	}
	if f.Status >= 400 {
		k.fail(f.Status, fmt.Sprintf("%d %s", f.Status, http.StatusText(f.Status)))
	} else {
		k.text(f.Status)
	}
	if f.Body != "" {
		k.answer = []byte(f.Body)
	}
	if f.Status == http.StatusRequestedRangeNotSatisfiable {
		k.header.Set("Range", fmt.Sprintf("0-%d", c.traceSize(k.job)))
	}
	for name, v := range f.Header {
		k.header[http.CanonicalHeaderKey(name)] = v
	}
	if s, err := strconv.Atoi(k.header.Get("Retry-After")); err == nil {
		key := k.endpoint + " " + k.r.URL.Path + " " + k.r.Header.Get(gitlab.HeaderRunnerToken) + k.r.Header.Get(gitlab.HeaderJobToken)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.notBefore[key] = c.opts.Clock.Now().Add(time.Duration(s) * time.Second)
	}
}

// hold waits for d, and says whether both sides are still there.
func (c *Coordinator) hold(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	over, stop := c.opts.Clock.After(c.opts.scaled(d))
	defer stop()
	select {
	case <-over:
		return true
	case <-ctx.Done():
	case <-c.closing:
	}
	return false
}

// cut ends the connection without an answer.
func (c *Coordinator) cut(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // the documented way to abort where a connection cannot be taken over
	}
	_ = conn.Close() // that is the point
}

func (c *Coordinator) unknown(k *call) {
	c.breach(breach.UnknownRoute, 0, "%s %s is not a call of the runner API", k.r.Method, k.r.URL.Path)
	k.fail(http.StatusNotFound, "404 Not Found")
}

func (c *Coordinator) discovery(k *call) {
	k.fail(http.StatusNotImplemented, "501 Not Implemented")
}
