package trace

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// ErrClosed is an entry appended after Close.
var ErrClosed = errors.New("the job's log is closed")

// outline is the runner's own spool: entries in a file, one a line, each behind its CRC. Entries
// are in memory only until they are rendered.
type outline struct {
	mu      sync.Mutex
	file    *os.File
	fault   fault
	size    int64 // of the file's whole lines
	entries []Entry
	keys    map[string]struct{}
	gone    map[[2]string]Entry // Abandon, by place and stage
	closed  bool
	changed chan struct{} // closed and replaced whenever an entry is added
}

func openOutline(dir string, f fault) (*outline, error) {
	path := filepath.Join(dir, outlineFile)
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the job's outline: %w", err)
	}
	o := &outline{
		file: file, fault: f, keys: map[string]struct{}{}, gone: map[[2]string]Entry{}, changed: make(chan struct{}),
	}
	b, err := os.ReadFile(path)
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("read the job's outline: %w", err)
	}
	entries, size := ParseOutline(b)
	for _, e := range entries {
		o.add(e)
	}
	o.size = size
	// What cannot be read must not come back behind a later line. A disk that refuses is met again.
	_ = file.Truncate(size)
	return o, nil
}

// ParseOutline reads an outline file up to the first line that is not whole and returns the size of
// what it has read.
func ParseOutline(b []byte) (entries []Entry, size int64) {
	for {
		line, _, whole := bytes.Cut(b[size:], []byte("\n"))
		if !whole || len(line) < 9 {
			return entries, size
		}
		sum, err := hex.DecodeString(string(line[:8]))
		var e Entry
		if err != nil || !bytes.Equal(sum, crcOf(line[9:])) || json.Unmarshal(line[9:], &e) != nil {
			return entries, size
		}
		entries = append(entries, e)
		size += int64(len(line)) + 1
	}
}

func crcOf(b []byte) []byte {
	s := crc32.ChecksumIEEE(b)
	return []byte{byte(s >> 24), byte(s >> 16), byte(s >> 8), byte(s)}
}

func (o *outline) add(e Entry) {
	o.entries = append(o.entries, e)
	if e.Key != "" {
		o.keys[e.Key] = struct{}{}
	}
	switch e.Op {
	case Close:
		o.closed = true
	case Abandon:
		o.gone[[2]string{e.Place, e.Stage}] = e
	}
	close(o.changed)
	o.changed = make(chan struct{})
}

// append writes e and then adds it. When it cannot be written it is added all the same, so that the
// log still ends as it should in this process, and the error says that a later one will not know it.
func (o *outline) append(e Entry) (bool, error) {
	if e.Op == Text && !strings.HasSuffix(e.Text, "\n") {
		e.Text += "\n"
	}
	j, err := json.Marshal(e)
	if err != nil {
		return false, fmt.Errorf("encode an outline entry: %w", err)
	}
	line := fmt.Appendf(nil, "%x %s\n", crcOf(j), j)
	// What a reader of the file will see is what is shown now: JSON mends text that is not UTF-8.
	if err := json.Unmarshal(j, &e); err != nil {
		return false, fmt.Errorf("decode an outline entry: %w", err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, have := o.keys[e.Key]; have && e.Key != "" {
		return false, nil
	}
	if o.closed && e.Op != Abandon {
		return false, ErrClosed
	}
	n, err := o.fault.check(outlineFile, len(line))
	_, werr := o.file.WriteAt(line[:n], o.size) // over what an earlier failure left
	if err = errors.Join(err, werr); err == nil {
		o.size += int64(len(line))
	}
	o.add(e)
	if err != nil {
		return true, fmt.Errorf("write the job's outline: %w", err)
	}
	return true, nil
}

func (o *outline) has(key string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	_, ok := o.keys[key]
	return ok
}

// entry returns entry i and drops the text of the ones before, or, when it is not there yet, a
// channel that is closed when there is more.
func (o *outline) entry(i int) (e Entry, ok bool, more <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if i >= len(o.entries) {
		return Entry{}, false, o.changed
	}
	e = o.entries[i]
	return e, true, nil
}

// awaited returns the inclusions that have not been rendered to their end.
func (o *outline) awaited() []Entry {
	o.mu.Lock()
	defer o.mu.Unlock()
	var out []Entry
	for _, e := range o.entries {
		if e.Op == Include && e.Stage != "" {
			out = append(out, e)
		}
	}
	return out
}

// rendered forgets the content of entry i, which a checkpoint covers or which can be read again.
func (o *outline) rendered(i int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.entries[i] = Entry{Op: o.entries[i].Op}
}

// abandoned tells whether and how a stage's spool was given up, and when to ask again.
func (o *outline) abandoned(place, stage string) (Entry, bool, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	e, ok := o.gone[[2]string{place, stage}]
	return e, ok, o.changed
}
