package nixwire

// Kind is what a part of a message is.
type Kind uint8

// The kinds.
const (
	Int     Kind = iota // a number
	Str                 // a string of at most Max bytes
	Path                // a store path
	OptPath             // a store path or ""
	Derived             // a store path, perhaps with outputs
	List                // a number and so many times Of
	Opt                 // 0, or 1 and Of
	Choice              // 1, or 0 and Of
)

// Field is a part of a message.
type Field struct {
	Kind    Kind
	Max     int    // Str: bytes; List: elements, 0: any number
	Of      Shape  // List, Opt, Choice
	Since   int    // the minor version that brought it
	With    string // only where this feature has been agreed on
	Without string // only where this feature has not been agreed on
}

// Shape is a message.
type Shape []Field

// Token is a part of a message as it is on the wire: a number, or a string. A List and an Opt are a number, and the
// tokens of their elements follow.
type Token struct {
	Kind Kind
	Int  uint64
	Str  string
}

// tokenSize is what a token takes beside its string.
const tokenSize = 32

// Limit bounds what messages take in memory.
type Limit struct {
	Left  int          // bytes
	Large int          // when fewer bytes than this are left, Grown is called, once
	Grown func() error // nil, or may wait for its turn, or refuse
}

func (l *Limit) take(n int) error {
	before := l.Left
	l.Left -= n + tokenSize
	if l.Left < 0 {
		return malformed("a message of more bytes than are accepted in one request; ask for less at once")
	}
	if l.Grown != nil && before >= l.Large && l.Left < l.Large {
		return l.Grown()
	}
	return nil
}

// Read reads a message into memory.
func Read(r *Reader, v Version, s Shape, l *Limit) ([]Token, error) {
	var tokens []Token
	err := s.walk(r, v, func(t Token) error {
		if err := l.take(len(t.Str)); err != nil {
			return err
		}
		tokens = append(tokens, t)
		return nil
	})
	return tokens, err
}

// Write writes a message as Read has read it.
func Write(w *Writer, tokens []Token) {
	for _, t := range tokens {
		t.write(w)
	}
}

// Copy passes a message on without keeping it; change, which may be nil, sees every part and may change a string.
func Copy(w *Writer, r *Reader, v Version, s Shape, change func(*Token)) error {
	return s.walk(r, v, func(t Token) error {
		if change != nil {
			change(&t)
		}
		t.write(w)
		return w.Err()
	})
}

func (t Token) write(w *Writer) {
	switch t.Kind {
	case Int, List, Opt, Choice:
		w.Uint64(t.Int)
	case Str, Path, OptPath, Derived:
		w.String(t.Str)
	}
}

// walk reads a message and calls emit for each part.
func (s Shape) walk(r *Reader, v Version, emit func(Token) error) error {
	for i := range s {
		f := &s[i]
		if v.Minor() < f.Since || f.With != "" && !v.Has(f.With) || f.Without != "" && v.Has(f.Without) {
			continue
		}
		t, err := f.read(r)
		if err != nil {
			return err
		}
		if err := emit(t); err != nil {
			return err
		}
		for range f.times(t.Int) {
			if err := f.Of.walk(r, v, emit); err != nil {
				return err
			}
		}
	}
	return nil
}

// times is how often Of follows the number n.
func (f *Field) times(n uint64) uint64 {
	switch f.Kind {
	case List, Opt:
		return n
	case Choice:
		return 1 - n
	case Int, Str, Path, OptPath, Derived:
	}
	return 0
}

func (f *Field) read(r *Reader) (t Token, err error) {
	t.Kind = f.Kind
	switch f.Kind {
	case Int:
		t.Int, err = r.number()
	case List:
		if t.Int, err = r.number(); err == nil && f.Max > 0 && t.Int > uint64(f.Max) { //nolint:gosec // positive
			err = malformed("a list of %d elements, where at most %d are allowed", t.Int, f.Max)
		}
	case Opt, Choice:
		if t.Int, err = r.number(); err == nil && t.Int > 1 {
			err = malformed("%d where 0 or 1 is expected", t.Int)
		}
	case Str:
		t.Str, err = r.String(f.Max)
	case Path, OptPath:
		if t.Str, err = r.String(maxPathString); err == nil && (f.Kind == Path || t.Str != "") {
			_, err = ParseStorePath(t.Str)
		}
	case Derived:
		if t.Str, err = r.String(maxDerived); err == nil {
			_, _, err = DerivedPath(t.Str)
		}
	}
	return t, err
}
