// Package terminal is a program in a job's place, with a terminal or without, as a stream of messages
// each way. The same messages go from a command to the runner and from the runner to the agent.
//
// A message is its kind (one byte), the length of its data (four bytes, big endian) and the data. From
// the user to the program: Begin once and first, then Input, InputEnd and Resize. From the program to the user:
// Output and ErrorOutput, and at last Exit, once. Nobody keeps more than one message in memory: who does not
// read makes the other side wait.
package terminal

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
)

// Kind is what a message is.
type Kind byte

// The kinds of messages.
const (
	Begin       Kind = 'b' // JSON, what to start
	Input       Kind = 'i' // what the user types
	InputEnd    Kind = 'q' // no more input; a program without a terminal sees the end of its standard input
	Resize      Kind = 'r' // the window's new size, see Size
	Output      Kind = 'o' // standard output, or what the terminal shows
	ErrorOutput Kind = 'e' // standard error of a program without a terminal
	Exit        Kind = 'x' // JSON, see Ended: the last message
)

// MaxData is the most data of a message other than Begin, in bytes.
const MaxData = 32 << 10

// header is the size of a message without its data.
const header = 5

// Size is that of a window in characters.
type Size struct{ Rows, Cols uint16 }

// Ended is the data of Exit.
type Ended struct {
	Code    int    `json:"code"`              // the program's exit code; 128+n when signal n ended it
	Message string `json:"message,omitempty"` // why there is no true code, else empty
}

// Stream sends and receives messages. Send may be called from several goroutines, Receive from one at a time.
type Stream struct {
	r io.Reader

	mu    sync.Mutex
	w     io.Writer
	flush func() error
	out   []byte

	in []byte
}

// New returns the stream that reads messages from r and writes them to w. flush is called after each one
// that was written; nil when nothing has to be done.
func New(r io.Reader, w io.Writer, flush func() error) *Stream {
	return &Stream{r: bufio.NewReaderSize(r, MaxData+header), w: w, flush: flush}
}

// Send sends one message, or several of the kind when data is longer than MaxData (not so Begin). It
// returns when the message has been handed over.
func (s *Stream) Send(k Kind, data []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for first := true; first || len(data) > 0; first = false {
		n := len(data)
		if k != Begin {
			n = min(n, MaxData)
		}
		s.out = binary.BigEndian.AppendUint32(append(s.out[:0], byte(k)), uint32(n)) //nolint:gosec // bounded
		s.out = append(s.out, data[:n]...)
		data = data[n:]
		if _, err := s.w.Write(s.out); err != nil {
			return fmt.Errorf("send to a terminal: %w", err)
		}
		if s.flush == nil {
			continue
		}
		if err := s.flush(); err != nil {
			return fmt.Errorf("send to a terminal: %w", err)
		}
	}
	return nil
}

// SendJSON sends a message whose data is v.
func (s *Stream) SendJSON(k Kind, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode a message to a terminal: %w", err)
	}
	return s.Send(k, b)
}

// SendSize sends a Resize.
func (s *Stream) SendSize(size Size) error {
	return s.Send(Resize, binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, size.Rows), size.Cols))
}

// ErrTooLarge is a message that is longer than it may be.
var ErrTooLarge = errors.New("a message of a terminal is too large")

// Receive returns the next message. Its data is valid until the next call. A stream that ends between two
// messages is io.EOF.
func (s *Stream) Receive() (Kind, []byte, error) { return s.receive(MaxData) }

// ReceiveJSON receives a message of kind k into v; its data may have limit bytes.
func (s *Stream) ReceiveJSON(k Kind, v any, limit int) error {
	got, b, err := s.receive(limit)
	if err != nil {
		return err
	}
	if got != k {
		return fmt.Errorf("the stream of a terminal has a message %q where %q belongs", got, k)
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("a message of a terminal cannot be understood: %w", err)
	}
	return nil
}

func (s *Stream) receive(limit int) (Kind, []byte, error) {
	var h [header]byte
	if _, err := io.ReadFull(s.r, h[:]); err != nil {
		return 0, nil, err
	}
	size := int64(binary.BigEndian.Uint32(h[1:]))
	if size > int64(limit) {
		return 0, nil, fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, size, limit)
	}
	if int64(cap(s.in)) < size && size <= MaxData {
		s.in = make([]byte, MaxData)
	}
	var err error
	if size <= int64(cap(s.in)) {
		s.in = s.in[:size]
		_, err = io.ReadFull(s.r, s.in)
	} else { // as it comes: a length alone must not take memory
		var b []byte
		if b, err = io.ReadAll(io.LimitReader(s.r, size)); err == nil && int64(len(b)) < size {
			err = io.ErrUnexpectedEOF
		}
		return Kind(h[0]), b, err
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return Kind(h[0]), s.in, err
}

// ParseSize reads the data of a Resize.
func ParseSize(data []byte) (Size, error) {
	if len(data) != 4 {
		return Size{}, fmt.Errorf("the size of a window has 4 bytes, not %d", len(data))
	}
	return Size{Rows: binary.BigEndian.Uint16(data), Cols: binary.BigEndian.Uint16(data[2:])}, nil
}

// Writer returns a writer whose every Write is a message of kind k.
func (s *Stream) Writer(k Kind) io.Writer { return writer{s, k} }

type writer struct {
	s *Stream
	k Kind
}

func (w writer) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if err := w.s.Send(w.k, p); err != nil {
		return 0, err
	}
	return len(p), nil
}
