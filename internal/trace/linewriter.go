package trace

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"sync"
)

// Limits of what Lines takes, since an image's own output may go there before the agent answers.
const (
	maxLine  = 16 << 10 // a longer line is broken
	maxLines = 2 << 20  // of one writer
)

// LineWriter makes an entry of each line written to it. Safe for concurrent use.
type LineWriter struct {
	t      *Trace
	prefix string
	stream int

	mu   sync.Mutex
	part []byte
	seen map[string]int
	size int
}

// Lines returns a writer whose lines become Text entries with the key keyPrefix, the line's hash and
// how often this writer has seen it: what is written again after a restart is not shown again. A line
// without an end waits for it, or for Close of the writer or of the log. A writer takes 2 MiB.
func (t *Trace) Lines(keyPrefix string) *LineWriter { return t.StreamLines(keyPrefix, 0) }

// StreamLines is Lines for a stream that is not the runner's own.
func (t *Trace) StreamLines(keyPrefix string, stream int) *LineWriter {
	w := &LineWriter{t: t, prefix: keyPrefix, stream: stream, seen: map[string]int{}}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.writers = append(t.writers, w)
	return w
}

// Write never fails for want of room. It returns the error of Append.
func (w *LineWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(p)
	for len(p) > 0 {
		k := bytes.IndexByte(p, '\n') + 1
		whole := k > 0
		if !whole {
			k = len(p)
		}
		if room := maxLine - len(w.part); k > room {
			k, whole = room, true
		}
		w.part = append(w.part, p[:k]...)
		p = p[k:]
		if whole {
			if err := w.line(); err != nil {
				return n - len(p), err
			}
		}
	}
	return n, nil
}

// Close shows a last line that has no end. The writer can go on being used.
func (w *LineWriter) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.part) == 0 {
		return nil
	}
	return w.line()
}

func (w *LineWriter) line() error {
	text := string(w.part)
	w.part = w.part[:0]
	if w.size > maxLines {
		return nil
	}
	if w.size += len(text); w.size > maxLines {
		text = fmt.Sprintf("%sWARNING: further lines are not shown: more than %d bytes were written here.%s\n", yellow, maxLines, reset)
	}
	sum := sha256.Sum256([]byte(text))
	hash := hex.EncodeToString(sum[:8])
	w.seen[hash]++
	key := fmt.Sprintf("%s%s.%d", w.prefix, hash, w.seen[hash])
	_, err := w.t.Append(Entry{Key: key, Time: w.t.clock.Now().UnixMicro(), Op: Text, Text: text, Stream: w.stream})
	return err
}
