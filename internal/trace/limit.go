package trace

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"unicode/utf8"
)

// DefaultLimit is the log's limit when Options has none. Source: GitLab Runner's output_limit.
const DefaultLimit = 4 << 20

// tailShare and maxTail are how much of the limit is kept for the log's end: limit/tailShare, at most maxTail.
const (
	tailShare = 4
	maxTail   = 256 << 10
)

// limiter keeps a log's head and tail within a limit and counts the middle. The head goes to the
// file as it comes, the tail waits in a ring until the end.
type limiter struct {
	file  *logFile
	limit int64
	total int64  // of everything that came
	size  int64  // of the file
	crc   uint32 // of the file
	ring  []byte // the newest bytes after the head, once it is full; ring[at:] are the oldest
	at    int    // where the ring has been wrapped
	err   error  // of the file; everything later is only counted
}

func newLimiter(f *logFile, limit int64) *limiter {
	if limit <= 0 {
		limit = DefaultLimit
	}
	return &limiter{file: f, limit: limit}
}

// head is the size at which the log's head ends at the latest.
func (l *limiter) head() int64 { return l.limit - min(l.limit/tailShare, maxTail) }

// write takes whole characters.
func (l *limiter) write(p []byte) {
	if len(p) == 0 {
		return
	}
	if l.total == l.size && l.err == nil {
		room := l.head() - l.size
		k := len(p)
		if int64(k) > room {
			for k = int(room); k > 0 && !utf8.RuneStart(p[k]); {
				k--
			}
		}
		l.total += int64(k)
		l.append(p[:k])
		p = p[k:]
	}
	l.total += int64(len(p))
	if l.err == nil {
		l.keep(p)
	}
}

// append writes p to the file.
func (l *limiter) append(p []byte) {
	if len(p) == 0 || l.err != nil {
		return
	}
	if l.err = l.file.writeAt(p, l.size); l.err != nil {
		return
	}
	l.size += int64(len(p))
	l.crc = crc32.Update(l.crc, crc32.IEEETable, p)
}

// keep puts p into the ring.
func (l *limiter) keep(p []byte) {
	capacity := int(l.limit - l.size)
	if len(p) > capacity {
		p = p[len(p)-capacity:]
	}
	if n := min(len(p), capacity-len(l.ring)); n > 0 {
		l.ring = append(l.ring, p[:n]...)
		p = p[n:]
	}
	for len(p) > 0 {
		n := copy(l.ring[l.at:], p)
		l.at = (l.at + n) % capacity
		p = p[n:]
	}
}

// tail is the ring's content, oldest first.
func (l *limiter) tail() []byte {
	return append(bytes.Clone(l.ring[l.at:]), l.ring[:l.at]...)
}

// finish completes the file. Header is what a line of the runner's own begins with.
func (l *limiter) finish(header []byte) {
	tail := l.tail()
	if l.err == nil && l.total > l.limit {
		k := bytes.IndexByte(tail, '\n') + 1
		for k == 0 || k < len(tail) && !utf8.RuneStart(tail[k]) {
			k++
		}
		tail = tail[min(k, len(tail)):]
		left := l.total - l.size - int64(len(tail))
		l.append(overLimit(header, l.limit, left, l.file.last))
	}
	l.append(tail)
	if l.err == nil {
		l.total, l.ring, l.at = l.size, nil, 0
	}
}

// overLimit is the line that stands for what the limit left out.
func overLimit(header []byte, limit, left int64, last byte) []byte {
	var line []byte
	if last != '\n' && last != 0 {
		line = append(line, '\n')
	}
	line = append(line, header...)
	return fmt.Appendf(line, "%sJob's log exceeded limit of %d bytes. %d bytes were left out here; what follows is the end of the log.%s\n",
		yellow, limit, left, reset)
}
