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
package trace

// Op says what an outline entry is.
type Op string

// The operations of an outline.
const (
	Text         Op = "text"    // Text, the runner's own words; stream 00
	SectionStart Op = "start"   // Section begins at Time
	SectionEnd   Op = "end"     // Section ends at Time
	Include      Op = "include" // the spool of stage Stage in place Place; stream 01
	Close        Op = "close"   // the log is complete
)

// Entry is one line of an outline.
type Entry struct {
	// Key makes Append idempotent: an entry whose key is in the outline is not added again.
	// An empty key is always added.
	Key     string `json:"key,omitempty"`
	Time    int64  `json:"time"` // microseconds since 1970 UTC
	Op      Op     `json:"op"`
	Text    string `json:"text,omitempty"`    // Text: whole lines, each ending in "\n"; may hold ANSI colours
	Section string `json:"section,omitempty"` // SectionStart, SectionEnd
	Options string `json:"options,omitempty"` // SectionStart: "collapsed=true" or empty
	Place   string `json:"place,omitempty"`   // Include
	Stage   string `json:"stage,omitempty"`   // Include: the stage's id
}
