package mask

import (
	"bytes"
	"math"
)

// urlStage masks the values of URL parameters.
type urlStage struct {
	set     *Set
	to      *tokenStage
	held    []byte // "?" or "&" and the beginning of a name
	live    uint64 // bit n: set.keys[n] begins like held
	swallow bool   // in a value
}

func (u *urlStage) write(p []byte) {
	from, i := 0, 0 // p[from:i] is neither held nor passed on
	question, amp := -1, -1
	for i < len(p) {
		switch {
		case u.swallow:
			for i < len(p) && !ValueEnd(p[i]) {
				i++
			}
			from = i
			u.swallow = i == len(p)
		case len(u.held) > 0:
			i, from = u.name(p, i)
		default:
			question, amp = next(p, i, '?', question), next(p, i, '&', amp)
			i = min(question, amp, len(p))
			if i < len(p) {
				u.pass(p[from:i])
				u.begin(p[i])
				i++
				from = i
			}
		}
	}
	u.pass(p[from:i])
}

// next is the first position of b from i on, known already when it is not before i.
func next(p []byte, i int, b byte, known int) int {
	if known >= i {
		return known
	}
	if n := bytes.IndexByte(p[i:], b); n >= 0 {
		return i + n
	}
	return math.MaxInt
}

func (u *urlStage) begin(b byte) {
	u.held = append(u.held[:0], b)
	u.live = 1<<len(u.set.keys) - 1
}

// name goes on with a parameter's name at p[i] and returns the next position to look at.
func (u *urlStage) name(p []byte, i int) (at, from int) {
	n := len(u.held) - 1
	lower := p[i]
	if lower >= 'A' && lower <= 'Z' {
		lower += 'a' - 'A'
	}
	done := false
	for k, key := range u.set.keys {
		if u.live&(1<<k) != 0 {
			if key[n] != lower {
				u.live &^= 1 << k
			} else if n+1 == len(key) {
				done = true
			}
		}
	}
	if u.live == 0 {
		u.release() // p[i] has not been looked at: it may begin a name itself
		return i, i
	}
	u.held = append(u.held, p[i])
	if done {
		u.release()
		u.to.masked()
		u.swallow = true
	}
	return i + 1, i + 1
}

func (u *urlStage) pass(p []byte) {
	if len(p) > 0 {
		u.to.write(p)
	}
}

// masked takes a value that has been masked.
func (u *urlStage) masked() {
	if !u.swallow {
		u.release()
		u.to.masked()
	}
}

func (u *urlStage) release() {
	u.pass(u.held)
	u.held = u.held[:0]
}

func (u *urlStage) restore(key string, swallow bool) {
	u.swallow = swallow
	for i := range len(key) {
		if i == 0 {
			u.begin(key[0])
		} else {
			_, _ = u.name([]byte{key[i]}, 0)
		}
	}
}
