package mask

import (
	"fmt"
	"slices"
	"strings"
)

// Sink takes what a Filter lets through. The bytes are valid only during the call.
type Sink interface{ Masked(p []byte) }

// Filter masks one stream. It is not safe for concurrent use.
type Filter struct {
	set  *Set
	mask []byte

	// Values. Positions count from the first byte of the write in hand; what is held lies before it,
	// at negative ones. The bytes at [done, here) are held or not yet looked at.
	node    int32
	done    int    // everything before it was passed on or swallowed
	swallow int    // bytes before it are part of a mask that has been written
	found   []span // occurrences at or after done, in order, disjoint, not yet written
	in      []byte // the write in hand
	held    string // what was held when it began

	url urlStage
	tok tokenStage
}

type span struct{ start, end int }

// Filter returns a Filter at the beginning of a stream.
func (s *Set) Filter(to Sink) *Filter {
	f := &Filter{set: s, mask: []byte(Mask)}
	f.tok = tokenStage{a: s.tokens, to: to, mask: f.mask}
	f.url = urlStage{set: s, to: &f.tok, held: make([]byte, 0, s.longest)}
	return f
}

// stretch is how much is looked at closely before the gate is tried again.
const stretch = 128

// Write masks p and passes on what is decided.
func (f *Filter) Write(p []byte) {
	for len(p) > 0 {
		if f.idle() {
			k := f.set.gate.next(p, 0)
			if k < len(p) {
				// The gate rules a beginning out by a window of bytes. Of these the URL stage may not
				// see the last ones yet, because the first stage holds them, and so on for the last stage.
				k = max(k-2*(f.set.gate.window-1), 0)
			}
			if k > 0 {
				f.tok.to.Masked(p[:k])
				p = p[k:]
			}
		}
		n := min(stretch, len(p))
		f.values(p[:n])
		p = p[n:]
	}
}

// idle reports whether no stage holds anything or is inside something: what begins nothing that is
// to be masked may pass them all by.
func (f *Filter) idle() bool {
	return f.node == 0 && f.swallow <= 0 && len(f.url.held) == 0 && !f.url.swallow && f.tok.node == 0 && f.tok.mode == tokenText
}

// values is the first stage.
func (f *Filter) values(p []byte) {
	a := f.set.values
	if a == nil {
		f.url.write(p)
		return
	}
	at := f.node
	f.in, f.held = p, a.text(at)
	for i := 0; i < len(p); {
		if at == 0 {
			if i = a.gate.next(p, i); i == len(p) {
				break
			}
		}
		at = a.step(at, p[i])
		i++
		if at == 0 {
			continue
		}
		if n := a.nodes[at].out; n > 0 {
			at = a.open(at)
			f.match(i-int(n), i)
			if len(f.found) > 64 {
				f.settle(i - int(a.nodes[at].depth))
			}
		}
	}
	f.node = at
	f.settle(len(p) - int(a.nodes[at].depth))
	f.rebase(len(p))
}

// match adds the occurrence [start, end) and joins it with those that it overlaps.
func (f *Filter) match(start, end int) {
	for k := len(f.found); k > 0 && f.found[k-1].end > start; k-- {
		start = min(start, f.found[k-1].start)
		f.found = f.found[:k-1]
	}
	if start < f.swallow {
		f.swallow = max(f.swallow, end)
		return
	}
	f.found = append(f.found, span{start, end})
}

// settle passes on everything before decided: no later occurrence begins there.
func (f *Filter) settle(decided int) {
	k := 0
	for ; k < len(f.found) && f.found[k].start < decided; k++ {
		f.pass(f.done, f.found[k].start)
		f.url.masked()
		f.done, f.swallow = f.found[k].start, f.found[k].end
	}
	f.found = f.found[:copy(f.found, f.found[k:])]
	f.pass(f.done, decided)
	f.done = decided
}

func (f *Filter) pass(from, to int) {
	from = max(from, min(f.swallow, to))
	if from < 0 && from < to {
		h := len(f.held)
		f.url.write([]byte(f.held[h+from : h+min(to, 0)]))
		from = 0
	}
	if from < to {
		f.url.write(f.in[from:to])
	}
}

// rebase moves the origin of all positions to the end of the write.
func (f *Filter) rebase(n int) {
	f.done -= n
	f.swallow = max(f.swallow-n, f.done)
	for k := range f.found {
		f.found[k].start -= n
		f.found[k].end -= n
	}
	f.in, f.held = nil, ""
}

// Gap says that bytes are missing from the stream here. What is held is let go; a value of which the
// beginning was masked goes on being masked after it.
func (f *Filter) Gap() {
	if a := f.set.values; a != nil {
		f.held = a.text(f.node)
		f.settle(0)
		f.node, f.held, f.done, f.swallow = 0, "", 0, 0
	}
	f.url.release()
	f.tok.release()
}

// End says that the stream is over. What is held is let go, and the next Write begins a new stream.
func (f *Filter) End() {
	f.Gap()
	f.url.swallow, f.tok.mode = false, tokenText
}

// Clean reports whether nothing is held.
func (f *Filter) Clean() bool { return f.node == 0 && len(f.url.held) == 0 && f.tok.node == 0 }

// State is a Filter between two writes. It holds no part of a secret.
type State struct {
	Pattern int    `json:"pattern,omitempty"` // held: the first Held bytes of value number Pattern
	Held    int    `json:"held,omitempty"`
	Swallow int    `json:"swallow,omitempty"` // so many bytes from the first held one are masked already
	Key     string `json:"key,omitempty"`     // the beginning of a URL parameter's name
	URL     bool   `json:"url,omitempty"`     // in the value of a URL parameter
	Prefix  int    `json:"prefix,omitempty"`  // held: the first Begun bytes of token prefix number Prefix
	Begun   int    `json:"begun,omitempty"`
	Token   int    `json:"token,omitempty"` // 1 after a token's prefix, 2 in the token
}

// State returns the state of f.
func (f *Filter) State() State {
	s := State{Key: string(f.url.held), URL: f.url.swallow, Token: int(f.tok.mode)}
	if a := f.set.values; a != nil {
		s.Pattern, s.Held = int(a.nodes[f.node].pattern), int(a.nodes[f.node].depth)
		s.Swallow = max(f.swallow+s.Held, 0)
	}
	if a := f.tok.a; a != nil {
		s.Prefix, s.Begun = int(a.nodes[f.tok.node].pattern), int(a.nodes[f.tok.node].depth)
	}
	return s
}

// Restore brings a new Filter to a State of an equal Set. It fails on a state that cannot be one.
func (f *Filter) Restore(s State) error {
	if s.Token < 0 || s.Token > int(tokenInside) || !f.set.beginsKey(s.Key) || s.Swallow < 0 || s.Swallow > s.Held {
		return fmt.Errorf("mask: impossible state %+v", s)
	}
	held, err := beginning(f.set.values, s.Pattern, s.Held)
	if err != nil {
		return err
	}
	begun, err := beginning(f.tok.a, s.Prefix, s.Begun)
	if err != nil {
		return err
	}
	// Walking down the pattern settles nothing, so nothing is passed on.
	f.swallow = s.Swallow
	f.values([]byte(held))
	f.url.restore(s.Key, s.URL)
	f.tok.mode = tokenMode(s.Token)
	for i := range len(begun) {
		f.tok.node = f.tok.a.step(f.tok.node, begun[i])
	}
	return nil
}

// beginsKey reports whether held may be held by a urlStage.
func (s *Set) beginsKey(held string) bool {
	if held == "" {
		return true
	}
	return (held[0] == '?' || held[0] == '&') && slices.ContainsFunc(s.keys, func(k string) bool {
		return len(held)-1 < len(k) && strings.EqualFold(held[1:], k[:len(held)-1])
	})
}

func beginning(a *automaton, pattern, n int) (string, error) {
	if n == 0 {
		return "", nil
	}
	if a == nil || pattern < 0 || pattern >= len(a.patterns) || n < 0 || n > len(a.patterns[pattern]) {
		return "", fmt.Errorf("mask: impossible state: %d bytes of pattern %d", n, pattern)
	}
	held := a.patterns[pattern][:n]
	at := int32(0)
	for i := range len(held) {
		at = a.childOf(at, held[i])
	}
	if a.open(at) != at {
		return "", fmt.Errorf("mask: impossible state: all %d bytes of pattern %d", n, pattern)
	}
	return held, nil
}
