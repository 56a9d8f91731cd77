package gitlabtest

import (
	"fmt"
	"net/http"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"gitlab.com/skerry/skerry/internal/gitlab"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/breach"
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

func (c *Coordinator) traceSize(id int64) int64 {
	c.mu.Lock()
	j := c.jobs[id]
	c.mu.Unlock()
	if j == nil {
		return 0
	}
	size, _ := j.trace.State()
	return size
}

// lose drops the end of a job's trace: what a fault does before it answers 412 or 416.
func (c *Coordinator) lose(id, from int64) {
	c.mu.Lock()
	j := c.jobs[id]
	if j != nil {
		j.mayResume = true
	}
	c.mu.Unlock()
	if j != nil {
		j.trace.Truncate(from)
	}
}

var contentRange = regexp.MustCompile(`^(\d{1,18})-(\d{1,18})$`)

// patch is PATCH /jobs/:id/trace.
func (c *Coordinator) patch(k *call) {
	c.mu.Lock()
	j := c.jobCall(k, "")
	c.mu.Unlock()
	if j == nil {
		return
	}
	if ct := k.r.Header.Get("Content-Type"); !strings.HasPrefix(ct, "text/plain") {
		c.breach(breach.ContentType, j.id, "trace patch: Content-Type is %q, not text/plain", ct)
	}
	start, ok := c.patchStart(k, j)
	if !ok {
		return
	}
	size, fits, err := j.trace.Append(start, k.body)
	if err != nil {
		c.opts.Logger.Error("trace not stored", "job", j.id, "error", err)
		k.fail(http.StatusInternalServerError, "500 Internal Server Error")
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.touch(j, c.opts.Clock.Now())
	k.header.Set("Range", fmt.Sprintf("0-%d", size))
	k.header.Set(gitlab.HeaderJobStatus, j.status)
	if !fits {
		c.judgeResume(j, start, size)
		c.event(j, EventPatch, http.StatusRequestedRangeNotSatisfiable, fmt.Sprintf("%d+%d at %d", start, len(k.body), size))
		k.header.Del(gitlab.HeaderJobStatus)
		k.fail(http.StatusRequestedRangeNotSatisfiable, "416 Range Not Satisfiable")
		return
	}
	j.mayRepeatPatch, j.mayResume = false, false
	k.header.Set(gitlab.HeaderUpdateInterval, strconv.Itoa(c.opts.TraceInterval))
	c.event(j, EventPatch, http.StatusAccepted, fmt.Sprintf("%d+%d", start, len(k.body)))
	k.text(http.StatusAccepted)
}

// judgeResume decides whether a patch that does not begin at the trace's end is a breach. The caller holds mu.
func (c *Coordinator) judgeResume(j *record, start, size int64) {
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
func (c *Coordinator) patchStart(k *call, j *record) (int64, bool) {
	value := k.r.Header.Get("Content-Range")
	m := contentRange.FindStringSubmatch(value)
	if m == nil {
		c.breach(breach.Range, j.id, "Content-Range is %q, not START-END", value)
		k.fail(http.StatusBadRequest, "400 Missing header Content-Range")
		return 0, false
	}
	start, _ := strconv.ParseInt(m[1], 10, 64)
	end, _ := strconv.ParseInt(m[2], 10, 64)
	if end != start+int64(len(k.body))-1 {
		c.breach(breach.Range, j.id, "Content-Range %q does not fit a body of %d bytes", value, len(k.body))
	}
	if len(k.body) == 0 || len(k.body) > maxPatch {
		c.breach(breach.PatchSize, j.id, "a patch of %d bytes", len(k.body))
	}
	return start, true
}
