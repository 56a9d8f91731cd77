package nixwire

// The messages that come between a request and its answer.
const (
	Next          = 0x6f6c6d67 // a line for the user
	ReadData      = 0x64617461 // the daemon asks for data: before 1.23
	WriteData     = 0x64617416 // the daemon sends data: only for exports
	Last          = 0x616c7473 // the answer follows
	Failure       = 0x63787470 // there is no answer
	StartActivity = 0x53545254
	StopActivity  = 0x53544f50
	Result        = 0x52534c54
)

// The activities (libutil/logging.hh) that say what is being done for a client.
const (
	ActCopyPath   = 100 // path, from, to
	ActBuild      = 105 // derivation, machine, 1, 1
	ActSubstitute = 108 // path, from
)

// Value is a field of an activity or of a result: a string, or else a number.
type Value struct {
	IsString bool
	Int      uint64
	Str      string
}

// Message is one of those messages. Which fields it has depends on Kind.
type Message struct {
	Kind     uint64
	Text     string // Next, StartActivity, Failure
	Activity uint64 // StartActivity, StopActivity, Result
	Parent   uint64
	Level    uint64
	Type     uint64 // of the activity or result
	Fields   []Value
	Traces   []string // Failure
}

// Bounds of what is kept of a message.
const (
	maxMessage = 1 << 20
	maxFields  = 64
	maxTraces  = 1024
)

// ReadMessage reads a message. Texts beyond a mebibyte lose their end.
func ReadMessage(r *Reader) (m Message, err error) {
	if m.Kind, err = r.number(); err != nil {
		return m, err
	}
	p := parser{r: r}
	switch m.Kind {
	case Last:
	case Next:
		m.Text = p.text()
	case Failure:
		p.failure(&m)
	case StartActivity:
		m.Activity, m.Level, m.Type = p.num(), p.num(), p.num()
		m.Text, m.Fields = p.text(), p.values()
		m.Parent = p.num()
	case StopActivity:
		m.Activity = p.num()
	case Result:
		m.Activity, m.Type = p.num(), p.num()
		m.Fields = p.values()
	default:
		return m, malformed("%#x where the daemon should say how it gets on", m.Kind)
	}
	return m, p.err
}

// Write writes the message; to clients before 1.26 a failure was of another form.
func (m *Message) Write(w *Writer) {
	w.Uint64(m.Kind)
	switch m.Kind {
	case Next:
		w.String(m.Text)
	case Failure:
		w.String("Error")
		w.Uint64(m.Level)
		w.String("Error") // a name that is not used any more
		w.String(m.Text)
		w.Uint64(0) // no position
		w.Uint64(uint64(len(m.Traces)))
		for _, t := range m.Traces {
			w.Uint64(0)
			w.String(t)
		}
	case StartActivity:
		w.Uint64(m.Activity)
		w.Uint64(m.Level)
		w.Uint64(m.Type)
		w.String(m.Text)
		writeValues(w, m.Fields)
		w.Uint64(m.Parent)
	case StopActivity:
		w.Uint64(m.Activity)
	case Result:
		w.Uint64(m.Activity)
		w.Uint64(m.Type)
		writeValues(w, m.Fields)
	}
}

func writeValues(w *Writer, values []Value) {
	w.Uint64(uint64(len(values)))
	for _, v := range values {
		w.Bool(v.IsString)
		if v.IsString {
			w.String(v.Str)
		} else {
			w.Uint64(v.Int)
		}
	}
}

// parser reads the parts of a message; the first error stays.
type parser struct {
	r   *Reader
	err error
}

func (p *parser) num() (n uint64) {
	if p.err == nil {
		n, p.err = p.r.number()
	}
	return n
}

func (p *parser) text() (s string) {
	if p.err == nil {
		s, p.err = p.r.Truncated(maxMessage)
	}
	return s
}

func (p *parser) fail(format string, args ...any) {
	if p.err == nil {
		p.err = malformed(format, args...)
	}
}

func (p *parser) values() []Value {
	n := p.num()
	if n > maxFields {
		p.fail("an activity of %d fields", n)
	}
	var values []Value
	for i := uint64(0); i < n && p.err == nil; i++ {
		switch kind := p.num(); kind {
		case 0:
			values = append(values, Value{Int: p.num()})
		case 1:
			values = append(values, Value{IsString: true, Str: p.text()})
		default:
			p.fail("a field of type %d", kind)
		}
	}
	return values
}

func (p *parser) failure(m *Message) {
	if kind := p.text(); kind != "Error" {
		p.fail("an error of type %q", short(kind))
	}
	m.Level = p.num()
	p.text()
	m.Text = p.text()
	p.position()
	n := p.num()
	if n > maxTraces {
		p.fail("an error of %d traces", n)
	}
	for i := uint64(0); i < n && p.err == nil; i++ {
		p.position()
		m.Traces = append(m.Traces, p.text())
	}
}

func (p *parser) position() {
	if n := p.num(); n != 0 {
		p.fail("an error with a position")
	}
}
