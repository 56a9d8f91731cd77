package supervisor

import (
	"bytes"
	"io"
	"sync"
	"unicode"
	"unicode/utf8"
)

// maxLine is the longest line in bytes that is shown as one: what is longer becomes several.
const maxLine = 16 << 10

// Log is what several programs write lines to. Each line comes out whole. It is safe for concurrent use. What cannot be
// written is lost: nobody could be told.
type Log struct {
	mu sync.Mutex
	w  io.Writer
}

// NewLog returns a log that writes to w.
func NewLog(w io.Writer) *Log { return &Log{w: w} }

// Write writes what is one line or several already, such as a log of this process.
func (l *Log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}

// lines makes lines with a prefix of a stream of bytes. Not safe for concurrent use.
type lines struct {
	prefix string
	log    *Log
	part   []byte // of a line whose end has not come
}

// Write never fails.
func (l *lines) Write(b []byte) (int, error) {
	var out []byte
	for rest := b; len(rest) > 0; {
		line, after, whole := bytes.Cut(rest, []byte{'\n'})
		l.part, rest = append(l.part, line...), after
		for len(l.part) > maxLine {
			n := cut(l.part)
			out = l.show(out, l.part[:n])
			l.part = l.part[:copy(l.part, l.part[n:])]
		}
		if whole {
			out = l.show(out, bytes.TrimSuffix(l.part, []byte{'\r'}))
			l.part = l.part[:0]
		}
	}
	if len(out) > 0 {
		_, _ = l.log.Write(out)
	}
	return len(b), nil
}

// cut is where a line that is too long is cut: not within a character.
func cut(line []byte) int {
	for n := maxLine; n > maxLine-utf8.UTFMax; n-- {
		if utf8.RuneStart(line[n]) {
			return n
		}
	}
	return maxLine // it is no text
}

// show appends a line to out.
func (l *lines) show(out, line []byte) []byte {
	return append(appendPlain(append(out, l.prefix...), line), '\n')
}

// flush ends a line whose end will not come.
func (l *lines) flush() {
	if len(l.part) > 0 {
		_, _ = l.log.Write(l.show(nil, l.part))
		l.part = l.part[:0]
	}
}

// hex are the digits.
const hex = "0123456789abcdef"

// appendPlain appends line so that it is text on one line which moves no cursor: what is not, is written as Go does.
func appendPlain(out, line []byte) []byte {
	for len(line) > 0 {
		r, n := utf8.DecodeRune(line)
		switch {
		case r == utf8.RuneError && n == 1, r != '\t' && unicode.IsControl(r):
			for _, b := range line[:n] {
				out = append(out, '\\', 'x', hex[b>>4], hex[b&15])
			}
		default:
			out = append(out, line[:n]...)
		}
		line = line[n:]
	}
	return out
}
