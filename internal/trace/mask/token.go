package mask

// tokenStage masks what follows a token prefix.
type tokenStage struct {
	a    *automaton
	to   Sink
	mask []byte
	node int32 // what has been seen of a prefix, held
	mode tokenMode
}

type tokenMode int

const (
	tokenText   tokenMode = iota
	tokenPrefix           // right after a prefix
	tokenInside           // the token has been masked, its bytes are swallowed
)

func (t *tokenStage) write(p []byte) {
	for len(p) > 0 {
		if t.mode == tokenText {
			p = t.text(p)
			continue
		}
		n := 0
		for n < len(p) && TokenByte(p[n]) {
			n++
		}
		if n > 0 {
			t.masked()
		}
		if n < len(p) {
			t.mode = tokenText
		}
		p = p[n:]
	}
}

// text passes p on up to the end of the first prefix in it and returns the rest.
func (t *tokenStage) text(p []byte) []byte {
	a, at := t.a, t.node
	held := a.text(at)
	for i := 0; i < len(p); {
		if at == 0 {
			if i = a.gate.next(p, i); i == len(p) {
				break
			}
		}
		at = a.step(at, p[i])
		i++
		if a.nodes[at].out > 0 {
			t.node, t.mode = 0, tokenPrefix
			t.pass(held, p[:i])
			return p[i:]
		}
	}
	t.node = at
	// Of held and p together all is passed on but the last depth bytes.
	if k := len(p) - int(a.nodes[at].depth); k >= 0 {
		t.pass(held, p[:k])
	} else {
		t.pass(held[:len(held)+k], nil)
	}
	return nil
}

func (t *tokenStage) pass(held string, p []byte) {
	if held != "" {
		t.to.Masked([]byte(held))
	}
	if len(p) > 0 {
		t.to.Masked(p)
	}
}

// masked takes something that is masked: a value, a parameter, or the first bytes of a token.
func (t *tokenStage) masked() {
	switch t.mode {
	case tokenInside:
	case tokenPrefix:
		t.mode = tokenInside
		t.to.Masked(t.mask)
	default:
		t.release()
		t.to.Masked(t.mask)
	}
}

func (t *tokenStage) release() {
	t.pass(t.a.text(t.node), nil)
	t.node = 0
}
