package trace

import (
	"bytes"
	"time"
	"unicode/utf8"

	"gitlab.com/skerry/skerry/internal/trace/mask"
)

// Sizes of the line in hand.
const (
	headerSize = len("2006-01-02T15:04:05.000000Z 00O ")
	longLine   = 8 << 10 // GitLab Runner's timestamper shows a longer line in parts
)

// maxTime is the last microsecond of the year 9999.
const maxTime = 253402300799999999

// stream is one stream of the log: its mask and its line in hand.
type stream struct {
	c      *composer
	filter *mask.Filter
	id     [3]byte // "00O", "01O", "01E"
	more   bool    // the next line goes on with one that has been shown in part
	part   []byte  // the line in hand, masked; without timestamps only half a character
	fresh  int     // so many bytes at the end of part came with the record in hand
	since  int64   // when part began
}

// write takes one record's or entry's bytes.
func (s *stream) write(p []byte) {
	s.fresh = 0
	s.filter.Write(p)
	s.settle()
}

// Masked implements mask.Sink.
func (s *stream) Masked(p []byte) {
	if !s.c.stamps {
		s.plain(p)
		return
	}
	valid := utf8.Valid(p)
	for {
		k := bytes.IndexByte(p, '\n')
		if k < 0 {
			break
		}
		s.line(p[:k+1], valid)
		p = p[k+1:]
	}
	if len(p) > 0 {
		if len(s.part) == 0 {
			s.since = s.c.now
		}
		s.part = append(s.part, p...)
		s.fresh += len(p)
	}
}

// line shows the line in hand, which ends with p.
func (s *stream) line(p []byte, valid bool) {
	if len(s.part) == 0 {
		s.c.header(s, s.c.now)
		if valid {
			s.c.put(p)
		} else {
			s.c.text(p)
		}
		return
	}
	s.part = append(s.part, p...)
	s.c.header(s, s.since)
	s.c.text(s.part)
	s.part, s.fresh = s.part[:0], 0
}

// plain passes p on but for half a character at its end.
func (s *stream) plain(p []byte) {
	if len(s.part) > 0 {
		p = append(s.part, p...)
	}
	k := len(p) - unfinished(p)
	s.c.text(p[:k])
	s.part = append(s.part[:0], p[k:]...)
}

// settle ends a record: it shows a part of a line that a reader should not have to wait for.
func (s *stream) settle() {
	if !s.c.stamps || s.fresh == 0 {
		return
	}
	size := len(s.part)
	if size > s.fresh {
		size += headerSize // which GitLab Runner counts when the line is older than the record
	}
	if size <= longLine && bytes.IndexByte(s.part[len(s.part)-s.fresh:], '\r') < 0 {
		return
	}
	k := len(s.part) - unfinished(s.part)
	if k == 0 {
		return
	}
	s.c.header(s, s.since)
	s.c.text(s.part[:k])
	s.c.put([]byte("\n"))
	s.part = append(s.part[:0], s.part[k:]...)
	s.more, s.since, s.fresh = true, s.c.now, 0
}

// flush lets everything go that is held; gap says that the stream goes on after missing bytes.
func (s *stream) flush(gap bool) {
	s.fresh = 0
	if gap {
		s.filter.Gap()
	} else {
		s.filter.End()
	}
	if len(s.part) == 0 {
		return
	}
	if s.c.stamps {
		s.c.header(s, s.since)
	}
	s.c.text(s.part)
	if s.c.stamps {
		s.c.put([]byte("\n"))
	}
	s.part = s.part[:0]
}

// unfinished is the number of bytes at the end of p that may be the beginning of a character.
func unfinished(p []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(p); n++ {
		if b := p[len(p)-n]; utf8.RuneStart(b) {
			if b >= utf8.RuneSelf && !utf8.FullRune(p[len(p)-n:]) {
				return n
			}
			return 0
		}
	}
	return 0
}

// stamp writes t as "2006-01-02T15:04:05.000000" over dst, which keeps the seconds of the last call.
type stamp struct {
	text   [headerSize]byte
	second int64
	at     int64
	made   bool
}

func (h *stamp) set(t int64) {
	t = min(max(t, 0), maxTime)
	if h.made && t == h.at {
		return
	}
	if sec := t / 1e6; !h.made || sec != h.second {
		time.Unix(sec, 0).UTC().AppendFormat(h.text[:0], "2006-01-02T15:04:05.000000Z 00O ")
		h.second = sec
	}
	h.at, h.made = t, true
	for i, micros := 25, t%1e6; i >= 20; i, micros = i-1, micros/10 {
		h.text[i] = '0' + byte(micros%10)
	}
}
