// Package trace turns a job's spools into the log that the coordinator gets, and sends it.
//
// # A pure function of spools
//
// The runner's own spool is the Outline: an append-only list of entries in the job's fixed order,
// each written with its time before it is shown. An entry is a piece of text, a section mark, or
// the inclusion of one stage's spool, which the agent keeps. The log is
//
//	entries → (included spools) → mask → sections and timestamps → limit (head and tail) → file
//
// and nothing else goes into it: not when bytes arrived, not how they were split by reads, not how
// often the runner was killed. Bytes that must be held back (the beginning of what may be a secret)
// are released by further data or by the end of their stage, never by a timer.
//
// # Streams and lines
//
// The runner's own words are stream 00, a stage's output is stream 01, O or E; each has its own mask
// and its own line in hand. What services write comes as entries, too, with streams from 0F on. With timestamps every line begins with the time of the record (or entry)
// that began it and stands alone, so that streams never mix within a line. As GitLab Runner's
// timestamper does it, a line that has no end yet is shown when its record ends if it holds a "\r" or
// is longer than 8 KiB, and what follows is marked as its continuation ("+"). At the end of its stage
// a line that was not ended is ended. Without timestamps bytes come out in the order of records.
// Bytes that are not UTF-8 become U+FFFD, one for one byte, as in GitLab Runner.
//
// # Durability
//
// A job's directory holds the outline, the log as far as it has been made, a checkpoint and how much
// the coordinator has accepted. A runner may be killed after any system call. Nothing is shown, sent
// or acknowledged to an agent before a checkpoint covers it, so what a reader has seen never changes.
package trace

// Op says what an outline entry is.
type Op string

// The operations of an outline.
const (
	Text         Op = "text"    // Text, the runner's own words; stream 00
	SectionStart Op = "start"   // Section begins at Time
	SectionEnd   Op = "end"     // Section ends at Time
	Include      Op = "include" // the spool of stage Stage in place Place; stream 01
	Abandon      Op = "abandon" // the spool of Stage in Place is gone for good, Text says why; shown where it is included
	Done         Op = "done"    // shows nothing: Key records that something has been done
	Close        Op = "close"   // the log is complete
)

// FirstService is the stream of the first service; each has one of its own.
// Source: gitlab-runner common/buildlogger, StreamStartingServiceLevel.
const FirstService = 0x0f

// lastStream is the last one that two hex digits name; services beyond share it.
const lastStream = 0xff

// Entry is one line of an outline.
type Entry struct {
	// Key makes Append idempotent: an entry whose key is in the outline is not added again.
	// An empty key is always added.
	Key     string `json:"key,omitempty"`
	Time    int64  `json:"time"` // microseconds since 1970 UTC
	Op      Op     `json:"op"`
	Text    string `json:"text,omitempty"`    // Text: whole lines, each ending in "\n"; may hold ANSI colours
	Stream  int    `json:"stream,omitempty"`  // Text: whose words they are, 0 the runner's own, FirstService … services'
	Section string `json:"section,omitempty"` // SectionStart, SectionEnd
	Options string `json:"options,omitempty"` // SectionStart: "collapsed=true" or empty
	Place   string `json:"place,omitempty"`   // Include, Abandon
	Stage   string `json:"stage,omitempty"`   // Include, Abandon: the stage's id
}
