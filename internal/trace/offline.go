package trace

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"gitlab.com/skerry/skerry/internal/agent/spool"
	"gitlab.com/skerry/skerry/internal/trace/mask"
)

// Offline computes a whole log from a complete outline file and complete spools, all at once and as
// simply as possible: what Render must yield however it was interrupted. It is slow and shares with
// Render the words of messages and nothing else. SpoolOf returns the bytes of a spool from offset 0.
func Offline(outline []byte, spoolOf func(place, stage string) ([]byte, error), o Options) ([]byte, error) {
	entries, _ := ParseOutline(outline)
	gone := map[[2]string]Entry{}
	for _, e := range entries {
		if e.Op == Abandon {
			gone[[2]string{e.Place, e.Stage}] = e
		}
	}
	off := &offline{o: o}
	own := off.stream("00O")
	for _, e := range entries {
		switch e.Op {
		case Text:
			if e.Stream != 0 {
				off.add(own, e.Time, offEnd, "")
				other := off.stream(fmt.Sprintf("%02XO", min(max(e.Stream, 0), lastStream)))
				off.add(other, e.Time, offWrite, e.Text)
				off.add(other, e.Time, offEnd, "")
				continue
			}
			off.add(own, e.Time, offWrite, e.Text)
		case SectionStart, SectionEnd:
			if o.Sections {
				off.add(own, e.Time, offEnd, "")
				off.add(own, e.Time, offWrite, mark(e))
				off.add(own, e.Time, offEnd, "")
			}
		case Include:
			off.add(own, e.Time, offEnd, "")
			b, err := spoolOf(e.Place, e.Stage)
			if err == nil {
				err = off.stage(own, b, gone[[2]string{e.Place, e.Stage}])
			}
			if err != nil {
				return nil, fmt.Errorf("stage %s: %w", e.Stage, err)
			}
		case Close:
			off.add(own, e.Time, offEnd, "")
			return off.limit(off.lines(), e.Time), nil
		}
	}
	return nil, errors.New("the outline has no end")
}

type offOp int

const (
	offWrite offOp = iota // data arrives
	offGap                // what is held is let go, the stream goes on after missing bytes
	offEnd                // what is held is let go, the stream is over
	offFresh              // go to the beginning of a line
)

// offPiece is one thing that happens, in the order of the log.
type offPiece struct {
	stream *offStream
	time   int64
	op     offOp
	data   string
	masked []byte // what it lets out
}

type offStream struct {
	id     string
	pieces []int // indices of its pieces
	more   bool
	part   string
	since  int64
}

type offline struct {
	o       Options
	streams []*offStream
	pieces  []offPiece
	out     strings.Builder
}

func (off *offline) stream(id string) *offStream {
	s := &offStream{id: id}
	off.streams = append(off.streams, s)
	return s
}

func (off *offline) add(s *offStream, t int64, op offOp, data string) {
	s.pieces = append(s.pieces, len(off.pieces))
	off.pieces = append(off.pieces, offPiece{stream: s, time: t, op: op, data: data})
}

// stage adds a spool's records.
func (off *offline) stage(own *offStream, b []byte, gone Entry) error {
	stdout, stderr := off.stream("01O"), off.stream("01E")
	now := off.pieces[len(off.pieces)-1].time // the Include's, until a record comes
	notice := func(t int64, text string) {
		off.add(stdout, t, offGap, "")
		off.add(stderr, t, offGap, "")
		off.add(own, t, offFresh, "")
		off.add(own, t, offWrite, text+reset+"\n")
		off.add(own, t, offEnd, "")
	}
	d := spool.NewDecoder(bytes.NewReader(b), 0)
	for over := false; !over; {
		r, err := d.Next()
		switch {
		case errors.Is(err, spool.ErrCorrupt):
			notice(now, red+corrupt(d.Offset()))
			over = true
		case errors.Is(err, io.ErrUnexpectedEOF) && gone.Op == Abandon:
			now = gone.Time
			notice(now, red+"ERROR: "+strings.TrimRight(gone.Text, "\n"))
			over = true
		case err != nil:
			return err
		case r.Stream == spool.End:
			over = true
		case r.Stream == spool.Dropped:
			now = r.Time
			notice(now, yellow+dropped(binary.BigEndian.Uint64(r.Data)))
		case r.Stream == spool.Stdout:
			now = r.Time
			off.add(stdout, now, offWrite, string(r.Data))
		default:
			now = r.Time
			off.add(stderr, now, offWrite, string(r.Data))
		}
	}
	off.add(stdout, now, offEnd, "")
	off.add(stderr, now, offEnd, "")
	return nil
}

// lines puts the masked pieces together.
func (off *offline) lines() string {
	for _, s := range off.streams {
		off.mask(s)
	}
	for i := range off.pieces {
		p := &off.pieces[i]
		switch {
		case p.op == offFresh:
			if out := off.out.String(); out != "" && !strings.HasSuffix(out, "\n") {
				off.out.WriteString("\n")
			}
		case off.o.Timestamps:
			off.stamped(p)
		default:
			off.plain(p)
		}
	}
	return off.out.String()
}

// mend replaces bytes that are not UTF-8.
func mend(s string) string { return string([]rune(s)) }

// whole cuts half a character off the end of s.
func whole(s string) (string, string) {
	for n := 1; n <= 3 && n <= len(s); n++ {
		if tail := s[len(s)-n:]; utf8.RuneStart(tail[0]) && !utf8.FullRuneInString(tail) {
			return s[:len(s)-n], tail
		}
	}
	return s, ""
}

func (off *offline) plain(p *offPiece) {
	s := p.stream
	text, rest := whole(s.part + string(p.masked))
	if p.op != offWrite {
		text, rest = text+rest, ""
	}
	off.out.WriteString(mend(text))
	s.part = rest
}

func (off *offline) stamped(p *offPiece) {
	s := p.stream
	before, fresh := s.part, string(p.masked)
	for {
		line, rest, ended := strings.Cut(fresh, "\n")
		if !ended {
			break
		}
		if before == "" {
			s.since = p.time
		}
		off.line(s, before+line)
		before, fresh = "", rest
	}
	if before == "" {
		s.since = p.time
	}
	s.part = before + fresh
	size := len(s.part)
	if before != "" {
		size += headerSize
	}
	switch text, rest := whole(s.part); {
	case p.op != offWrite:
		if s.part != "" {
			off.line(s, s.part)
		}
		s.part = ""
	case fresh != "" && text != "" && (size > longLine || strings.Contains(fresh, "\r")):
		off.line(s, text)
		s.more, s.part, s.since = true, rest, p.time
	}
}

func (off *offline) line(s *offStream, text string) {
	flag := " "
	if s.more {
		flag = "+"
	}
	s.more = false
	off.out.WriteString(stampOf(s.since) + s.id + flag + mend(text) + "\n")
}

func stampOf(t int64) string {
	return time.UnixMicro(min(max(t, 0), maxTime)).UTC().Format("2006-01-02T15:04:05.000000Z ")
}

// limit leaves out the middle of a log that is too long.
func (off *offline) limit(log string, end int64) []byte {
	limit := off.o.Limit
	if limit <= 0 {
		limit = DefaultLimit
	}
	if int64(len(log)) <= limit {
		return []byte(log)
	}
	head := limit - min(limit/4, 256<<10)
	for !utf8.RuneStart(log[head]) {
		head--
	}
	tail := log[int64(len(log))-(limit-head):]
	if _, after, ok := strings.Cut(tail, "\n"); ok {
		tail = after
	} else {
		tail = tail[1:]
		for tail != "" && !utf8.RuneStart(tail[0]) {
			tail = tail[1:]
		}
	}
	header := ""
	if off.o.Timestamps {
		header = stampOf(end) + "00O "
	}
	var last byte
	if head > 0 {
		last = log[head-1]
	}
	marker := overLimit([]byte(header), limit, int64(len(log))-head-int64(len(tail)), last)
	return []byte(log[:head] + string(marker) + tail)
}

// tokenPrefixes is what is masked as a token.
func (off *offline) tokenPrefixes() []string {
	if off.o.FewTokens {
		return mask.Prefixes(off.o.Prefixes)
	}
	return mask.Prefixes(append(mask.DefaultPrefixes(), off.o.Prefixes...))
}
