package gitlabtest

import (
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"time"

	"gitlab.com/skerry/skerry/internal/gitlab"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/breach"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/call"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/fault"
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

// Endpoints are all of them.
func Endpoints() []string {
	return []string{
		EndpointRegister, EndpointUnregister, EndpointVerify, EndpointReset, EndpointDiscovery, EndpointRequest, EndpointUpdate,
		EndpointTrace, EndpointUpload, EndpointDownload, EndpointStorage, EndpointGit, EndpointUnknown,
	}
}

// hooks is the coordinator as its server sees it.
type hooks struct{ *Coordinator }

// Fault adds a failure to the programme. Waits are scaled by Options.Scale.
func (c *Coordinator) Fault(f fault.Fault) *fault.Handle { return c.calls.Faults.Add(f) }

// ClearFaults removes every failure that has not happened yet.
func (c *Coordinator) ClearFaults() { c.calls.Faults.Clear() }

// Check checks what holds for every call of the API.
func (c hooks) Check(k *call.Call) {
	if k.Endpoint == EndpointStorage {
		return
	}
	if id := k.Request.Header.Get(gitlab.HeaderRequestID); !validRequestID(id) {
		c.breach(breach.RequestID, k.Job, "%s %s: %s is %q, not 32 hex digits", k.Request.Method, k.Request.URL.Path, gitlab.HeaderRequestID, id)
	} else {
		k.Header.Set(gitlab.HeaderRequestID, id)
	}
	c.mu.Lock()
	at := c.notBefore[limitKey(k)]
	delete(c.notBefore, limitKey(k))
	c.mu.Unlock()
	const slack = 20 * time.Millisecond // of two clocks and their rounding
	if early := at.Sub(c.opts.Clock.Now()); early > slack {
		c.breach(breach.TooSoon, k.Job, "%s %s: %v before Retry-After was over", k.Request.Method, k.Request.URL.Path, early.Round(time.Millisecond))
	}
}

func validRequestID(id string) bool {
	b, err := hex.DecodeString(id)
	return err == nil && len(b) == 16
}

// limitKey tells apart who is asked to wait with what.
func limitKey(k *call.Call) string {
	return k.Endpoint + " " + k.Request.URL.Path + " " + k.Request.Header.Get(gitlab.HeaderRunnerToken) + k.Request.Header.Get(gitlab.HeaderJobToken)
}

// RateLimited notes until when the client has to wait.
func (c hooks) RateLimited(k *call.Call, wait time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.notBefore[limitKey(k)] = c.opts.Clock.Now().Add(wait)
}

// Read reads the body, and the state that an update reports.
func (c hooks) Read(k *call.Call) (err error) {
	if k.Endpoint == EndpointUpload {
		k.Upload, err = c.receive(k)
		return err
	}
	k.Body, err = readAll(k.Request)
	if k.Endpoint == EndpointUpdate {
		var u struct {
			State string `json:"state"`
		}
		_ = json.Unmarshal(k.Body, &u) // the handler says what is wrong with it
		k.State = u.State
	}
	return err
}

// readAll reads a body of known length, as those of patches are, without growing a buffer for it.
func readAll(r *http.Request) ([]byte, error) {
	if r.ContentLength < 0 || r.ContentLength > maxJSON {
		return io.ReadAll(io.LimitReader(r.Body, maxJSON))
	}
	b := make([]byte, r.ContentLength)
	_, err := io.ReadFull(r.Body, b)
	return b, err
}

// decode reads the JSON body, and answers 400 when it is none.
func (c *Coordinator) decode(k *call.Call, v any) bool {
	if ct := k.Request.Header.Get("Content-Type"); !strings.HasPrefix(ct, "application/json") {
		c.breach(breach.ContentType, k.Job, "%s %s: Content-Type is %q, not application/json", k.Request.Method, k.Request.URL.Path, ct)
	}
	if err := json.Unmarshal(k.Body, v); err != nil {
		c.breach(breach.Body, k.Job, "%s %s: %v", k.Request.Method, k.Request.URL.Path, err)
		k.Fail(http.StatusBadRequest, "400 Bad request - "+err.Error())
		return false
	}
	return true
}

func (c *Coordinator) unknown(k *call.Call) {
	c.breach(breach.UnknownRoute, 0, "%s %s is not a call of the runner API", k.Request.Method, k.Request.URL.Path)
	k.Fail(http.StatusNotFound, "404 Not Found")
}

func (c *Coordinator) discovery(k *call.Call) {
	k.Fail(http.StatusNotImplemented, "501 Not Implemented")
}
