package gitlabtest

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"gitlab.com/skerry/skerry/internal/gitlab"
)

// traceLog is one job's log: its size and CRC-32 always, its bytes unless the mode keeps none.
type traceLog struct {
	mu   sync.Mutex
	mode TraceMode
	size int64
	sum  uint32 // IEEE
	data []byte
	path string
	file *os.File // opened by the first append
}

func (t *traceLog) state() (size int64, sum uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.size, t.sum
}

// append adds p at offset start, and returns the size afterwards and whether start was the end.
func (t *traceLog) append(start int64, p []byte) (size int64, fits bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if start != t.size {
		return t.size, false, nil
	}
	switch t.mode {
	case TraceInMemory:
		t.data = append(t.data, p...)
	case TraceInFile:
		if t.file == nil {
			if t.file, err = os.OpenFile(t.path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600); err != nil {
				return t.size, true, fmt.Errorf("trace file: %w", err)
			}
		}
		if _, err := t.file.WriteAt(p, start); err != nil {
			return t.size, true, fmt.Errorf("trace file: %w", err)
		}
	}
	t.size += int64(len(p))
	t.sum = crc32.Update(t.sum, crc32.IEEETable, p)
	return t.size, true, nil
}

// truncate loses everything from offset n on; a mere hash loses everything.
func (t *traceLog) truncate(n int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n = min(n, t.size)
	switch t.mode {
	case TraceInMemory:
		t.data = t.data[:n]
		t.sum = crc32.ChecksumIEEE(t.data)
	case TraceInFile:
		t.sum = 0
		if t.file != nil {
			h := crc32.NewIEEE()
			_, _ = io.Copy(h, io.NewSectionReader(t.file, 0, n)) // a short read shows as a wrong checksum later
			t.sum = h.Sum32()
		}
	default:
		n, t.sum = 0, 0
	}
	t.size = n
}

func (t *traceLog) bytes() ([]byte, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.mode == TraceHashOnly:
		return nil, errors.New("the trace was not kept (TraceHashOnly)")
	case t.mode == TraceInMemory:
		return append([]byte(nil), t.data...), nil
	case t.size == 0:
		return nil, nil
	}
	b := make([]byte, t.size)
	f, err := os.Open(t.path)
	if err != nil {
		return nil, fmt.Errorf("trace file: %w", err)
	}
	defer f.Close()
	if _, err := io.ReadFull(f, b); err != nil {
		return nil, fmt.Errorf("trace file: %w", err)
	}
	return b, nil
}

func (t *traceLog) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.file != nil {
		_ = t.file.Close() // written with WriteAt; nothing is buffered
		t.file = nil
	}
}

// Trace returns the job's log so far.
func (c *Coordinator) Trace(id int64) ([]byte, error) {
	c.mu.Lock()
	j := c.jobs[id]
	c.mu.Unlock()
	if j == nil {
		return nil, fmt.Errorf("no job %d", id)
	}
	return j.trace.bytes()
}

// TraceFile returns where the log of a job is kept with TraceInFile.
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
	size, _ := j.trace.state()
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
		j.trace.truncate(from)
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
		c.breach(BreachContentType, j.id, "trace patch: Content-Type is %q, not text/plain", ct)
	}
	start, ok := c.patchStart(k, j)
	if !ok {
		return
	}
	size, fits, err := j.trace.append(start, k.body)
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
	kind := BreachOverlap
	if start > size {
		kind = BreachGap
	}
	c.breach(kind, j.id, "a patch begins at %d, the trace ends at %d", start, size)
}

// patchStart checks Content-Range; GitLab computes the end itself, from the body's length.
func (c *Coordinator) patchStart(k *call, j *record) (int64, bool) {
	value := k.r.Header.Get("Content-Range")
	m := contentRange.FindStringSubmatch(value)
	if m == nil {
		c.breach(BreachRange, j.id, "Content-Range is %q, not START-END", value)
		k.fail(http.StatusBadRequest, "400 Missing header Content-Range")
		return 0, false
	}
	start, _ := strconv.ParseInt(m[1], 10, 64)
	end, _ := strconv.ParseInt(m[2], 10, 64)
	if end != start+int64(len(k.body))-1 {
		c.breach(BreachRange, j.id, "Content-Range %q does not fit a body of %d bytes", value, len(k.body))
	}
	if len(k.body) == 0 || len(k.body) > maxPatch {
		c.breach(BreachPatchSize, j.id, "a patch of %d bytes", len(k.body))
	}
	return start, true
}
