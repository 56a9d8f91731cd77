package gitlabtest

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"

	"gitlab.com/skerry/skerry/internal/gitlab"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/breach"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/call"
)

// Trace returns the job's log so far.
func (c *Coordinator) Trace(id int64) ([]byte, error) {
	c.mu.Lock()
	j := c.jobs[id]
	c.mu.Unlock()
	if j == nil {
		return nil, fmt.Errorf("no job %d", id)
	}
	return j.trace.Bytes()
}

// TraceFile returns where the log of a job is kept with store.InFile.
func (c *Coordinator) TraceFile(id int64) string {
	return filepath.Join(c.opts.Dir, "traces", strconv.FormatInt(id, 10)+".log")
}

// Strike loses of a job's trace what a fault says, before it answers 412 or 416.
func (c hooks) Strike(k *call.Call) int64 {
	c.mu.Lock()
	j := c.jobs[k.Job]
	if j != nil && k.Fault.Lose {
		j.mayResume = true
	}
	c.mu.Unlock()
	if j == nil {
		return 0
	}
	if k.Fault.Lose {
		j.trace.Truncate(k.Fault.Truncate)
	}
	size, _ := j.trace.State()
	return size
}

// contentRange reads START-END.
func contentRange(s string) (start, end int64, ok bool) {
	a, b, found := strings.Cut(s, "-")
	first, err := strconv.ParseUint(a, 10, 62)
	last, err2 := strconv.ParseUint(b, 10, 62)
	return int64(first), int64(last), found && err == nil && err2 == nil
}

// patch is PATCH /jobs/:id/trace.
func (c *Coordinator) patch(k *call.Call) {
	c.mu.Lock()
	j := c.jobCall(k, "")
	c.mu.Unlock()
	if j == nil {
		return
	}
	if ct := k.Request.Header.Get("Content-Type"); !strings.HasPrefix(ct, "text/plain") {
		c.breach(breach.ContentType, j.id, "trace patch: Content-Type is %q, not text/plain", ct)
	}
	switch debug := k.Request.URL.Query().Get("debug_trace"); debug {
	case "true", "false", "": // GitLab does not insist on it
	default:
		c.breach(breach.DebugTrace, j.id, "trace patch: debug_trace is %q, not true or false", debug)
	}
	start, ok := c.patchStart(k, j)
	if !ok {
		return
	}
	size, fits, err := j.trace.Append(start, k.Body)
	if err != nil {
		c.opts.Logger.Error("trace not stored", "job", j.id, "error", err)
		k.Fail(http.StatusInternalServerError, "500 Internal Server Error")
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.touch(j, c.opts.Clock.Now())
	k.Header.Set("Range", fmt.Sprintf("0-%d", size))
	k.Header.Set(gitlab.HeaderJobStatus, j.status)
	if !fits {
		c.judgeResume(k, j, start, size)
		c.event(j, EventPatch, http.StatusRequestedRangeNotSatisfiable, fmt.Sprintf("%d+%d at %d", start, len(k.Body), size))
		k.Header.Del(gitlab.HeaderJobStatus)
		k.Fail(http.StatusRequestedRangeNotSatisfiable, "416 Range Not Satisfiable")
		return
	}
	c.patched(k, j)
	k.Header.Set(gitlab.HeaderUpdateInterval, strconv.Itoa(c.opts.TraceInterval))
	c.event(j, EventPatch, http.StatusAccepted, fmt.Sprintf("%d+%d", start, len(k.Body)))
	k.Text(http.StatusAccepted)
}

// patched ends what was legitimate until the runner's next patch. What a runner sent that has died since is no patch of
// the next one's. The caller holds mu.
func (c *Coordinator) patched(k *call.Call, j *record) {
	if !c.outlived(k.Request) {
		j.mayRepeatPatch, j.mayResume = false, false
	}
}

// judgeResume decides whether a patch that does not begin at the trace's end is a breach. The caller holds mu.
func (c *Coordinator) judgeResume(k *call.Call, j *record, start, size int64) {
	if c.outlived(k.Request) && start < size {
		return // the next runner was first
	}
	if j.mayResume || (j.mayRepeatPatch && start < size) {
		j.mayRepeatPatch, j.mayResume = false, false
		return
	}
	kind := breach.Overlap
	if start > size {
		kind = breach.Gap
	}
	c.breach(kind, j.id, "a patch begins at %d, the trace ends at %d", start, size)
}

// patchStart checks Content-Range; GitLab computes the end itself, from the body's length.
func (c *Coordinator) patchStart(k *call.Call, j *record) (int64, bool) {
	value := k.Request.Header.Get("Content-Range")
	start, end, ok := contentRange(value)
	if !ok {
		c.breach(breach.Range, j.id, "Content-Range is %q, not START-END", value)
		k.Fail(http.StatusBadRequest, "400 Missing header Content-Range")
		return 0, false
	}
	if end != start+int64(len(k.Body))-1 {
		c.breach(breach.Range, j.id, "Content-Range %q does not fit a body of %d bytes", value, len(k.Body))
	}
	if len(k.Body) == 0 || len(k.Body) > maxPatch {
		c.breach(breach.PatchSize, j.id, "a patch of %d bytes", len(k.Body))
	}
	return start, true
}
