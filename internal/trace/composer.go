package trace

import (
	"encoding/binary"
	"fmt"
	"strings"
	"unicode/utf8"

	"gitlab.com/skerry/skerry/internal/agent/spool"
	"gitlab.com/skerry/skerry/internal/trace/mask"
)

// The colours of the runner's own lines, as in GitLab Runner.
const (
	yellow = "\x1b[33;1m"
	red    = "\x1b[31;1m"
	reset  = "\x1b[0;m"
	clear  = "\x1b[0K"
)

// flushSize is how much rendered text is gathered before it goes to the file.
const flushSize = 64 << 10

// composer is the pure function from entries and records to the log's bytes, before the limit.
type composer struct {
	stamps   bool
	sections bool
	set      *mask.Set
	out      *limiter

	own            *stream
	stdout, stderr *stream
	now            int64 // time of the record or entry in hand
	midline        bool  // the log does not end with a whole line
	stamp          stamp
	buf            []byte
}

func newComposer(o Options, out *limiter) *composer {
	prefixes := o.Prefixes
	if !o.FewTokens {
		prefixes = append(mask.DefaultPrefixes(), prefixes...)
	}
	c := &composer{stamps: o.Timestamps, sections: o.Sections, set: mask.New(o.Secrets, prefixes), out: out}
	c.own = c.stream("00O")
	c.begin()
	return c
}

func (c *composer) stream(id string) *stream {
	s := &stream{c: c, id: [3]byte([]byte(id))}
	s.filter = c.set.Filter(s)
	return s
}

// begin makes fresh streams for a stage.
func (c *composer) begin() { c.stdout, c.stderr = c.stream("01O"), c.stream("01E") }

// entry renders every kind of entry but Include and Close.
func (c *composer) entry(e Entry) {
	c.now = e.Time
	switch e.Op {
	case Text:
		if e.Stream != 0 {
			c.aside(e)
			return
		}
		c.own.write([]byte(e.Text))
	case SectionStart, SectionEnd:
		if c.sections {
			c.own.flush(false)
			c.own.write([]byte(mark(e)))
			c.own.flush(false)
		}
	}
}

// aside shows lines of somebody else's among the runner's own: nothing of them is held beyond them.
func (c *composer) aside(e Entry) {
	c.own.flush(false)
	id, more := c.own.id, c.own.more
	c.own.more = false
	c.own.id = [3]byte([]byte(fmt.Sprintf("%02XO", min(max(e.Stream, 0), lastStream))))
	c.own.write([]byte(e.Text))
	c.own.flush(false)
	c.own.id, c.own.more = id, more
}

// mark is a section mark as GitLab's log viewer reads it.
func mark(e Entry) string {
	seconds := min(max(e.Time, 0), maxTime) / 1e6
	if e.Op == SectionEnd {
		return fmt.Sprintf("section_end:%d:%s\r%s", seconds, e.Section, clear)
	}
	options := ""
	if e.Options != "" {
		options = "[" + e.Options + "]"
	}
	return fmt.Sprintf("section_start:%d:%s%s\r%s", seconds, e.Section, options, clear)
}

// record renders one record of a stage; End is left to end.
func (c *composer) record(r spool.Record) {
	c.now = r.Time
	switch r.Stream {
	case spool.Stdout:
		c.stdout.write(r.Data)
	case spool.Stderr:
		c.stderr.write(r.Data)
	case spool.Dropped:
		c.notice(yellow, dropped(binary.BigEndian.Uint64(r.Data)))
	}
}

func dropped(n uint64) string {
	return fmt.Sprintf("WARNING: %d bytes of output were left out here: more was written than the runner could take at that time.", n)
}

func corrupt(offset int64) string {
	return fmt.Sprintf("ERROR: this stage's output is unreadable from here on (byte %d of its record): something in the job's environment has damaged it.", offset)
}

func trimmed(n int64) string {
	if n < 0 {
		return "WARNING: output of this stage was left out here: the runner lost its place in the log and the output is no longer kept."
	}
	return fmt.Sprintf("WARNING: about %d bytes of output were left out here: the runner lost its place in the log and they are no longer kept.", n)
}

// notice says something of the runner's own in the middle of a stage, on a line of its own.
func (c *composer) notice(colour, text string) {
	c.stdout.flush(true)
	c.stderr.flush(true)
	c.fresh()
	c.own.write([]byte(colour + strings.TrimRight(text, "\n") + reset + "\n"))
	c.own.flush(false)
}

// end ends a stage.
func (c *composer) end() {
	c.stdout.flush(false)
	c.stderr.flush(false)
}

// fresh goes to the beginning of a line.
func (c *composer) fresh() {
	if c.midline {
		c.put([]byte("\n"))
	}
}

func (c *composer) header(s *stream, t int64) {
	h := &c.stamp
	h.set(t)
	copy(h.text[headerSize-4:], s.id[:])
	h.text[headerSize-1] = ' '
	if s.more {
		h.text[headerSize-1] = '+'
		s.more = false
	}
	c.buf = append(c.buf, h.text[:]...)
}

// text appends whole lines or characters and mends what is not UTF-8.
func (c *composer) text(p []byte) {
	if utf8.Valid(p) {
		c.put(p)
		return
	}
	for len(p) > 0 {
		r, n := utf8.DecodeRune(p)
		c.buf = utf8.AppendRune(c.buf, r)
		p = p[n:]
	}
	c.put(nil)
}

func (c *composer) put(p []byte) {
	c.buf = append(c.buf, p...)
	if n := len(c.buf); n > 0 {
		c.midline = c.buf[n-1] != '\n'
		if n >= flushSize {
			c.flush()
		}
	}
}

// flush hands everything to the limiter, in whole characters.
func (c *composer) flush() {
	c.out.write(c.buf)
	c.buf = c.buf[:0]
	if cap(c.buf) > 8*flushSize {
		c.buf = nil
	}
}

// abandon ends a stage whose spool is gone.
func (c *composer) abandon(gone Entry) {
	c.now = gone.Time
	c.notice(red, "ERROR: "+gone.Text)
}

// finish ends the log.
func (c *composer) finish(e Entry) {
	c.now = e.Time
	c.own.flush(false)
	c.flush()
	var header []byte
	if c.stamps {
		header = c.ownHeader()
	}
	c.out.finish(header)
}

// ownHeader is what begins a line of the runner's own that stands alone.
func (c *composer) ownHeader() []byte {
	h := &c.stamp
	h.set(c.now)
	copy(h.text[headerSize-4:], "00O ")
	return append([]byte(nil), h.text[:]...)
}
