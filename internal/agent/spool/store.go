package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Options are the limits of a spool. Zero values mean the defaults.
type Options struct {
	Cap     int64 // bytes that are not acknowledged, 64 MiB; see "The cap"
	Tail    int64 // bytes of the ring, 16 MiB
	Segment int64 // size at which a new file is begun, 4 MiB

	// Now returns microseconds since 1970 UTC; nil is the system's clock. The spool makes it
	// non-decreasing.
	Now func() int64
}

func (o Options) withDefaults() Options {
	if o.Cap <= 0 {
		o.Cap = 64 << 20
	}
	if o.Tail <= 0 {
		o.Tail = 16 << 20
	}
	if o.Segment <= 0 {
		o.Segment = 4 << 20
	}
	if o.Now == nil {
		o.Now = func() int64 { return time.Now().UnixMicro() }
	}
	return o
}

// Spool is one stage's output on disk. All methods may be called concurrently; one process at a
// time may have a directory open.
type Spool struct {
	dir string
	o   Options

	mu        sync.Mutex
	changed   *sync.Cond // something to read, room, a follower came or went, the end
	head      []*segment
	tail      []*segment
	seq       int64  // of the newest segment
	end       int64  // offset behind the head
	acked     int64  // at most end
	last      int64  // time of the newest record
	tailSize  int64  // encoded bytes in tail
	tailData  uint64 // output in the tail's life
	followers int
	finished  bool
	closed    bool
	failed    error  // the disk's; from then on output is only counted
	lost      uint64 // bytes of output since failed
	scratch   []byte // for records that come without room for a header
	buffers   sync.Pool
}

// The errors of a spool.
var (
	ErrTrimmed  = errors.New("the spool's records at this offset have been acknowledged and removed")
	ErrBeyond   = errors.New("the offset lies behind the end of the spool")
	ErrFinished = errors.New("the spool is finished")
)

// Open opens the spool in dir, which is made (0700) when missing. The caller closes it.
func Open(dir string, o Options) (*Spool, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the spool: %w", err)
	}
	s := &Spool{dir: dir, o: o.withDefaults()}
	s.changed = sync.NewCond(&s.mu)
	s.buffers.New = func() any { b := make([]byte, HeaderSize+readSize); return &b }
	if err := s.load(); err != nil {
		return nil, err
	}
	return s, nil
}

// Finished reports whether the spool holds its End record.
func (s *Spool) Finished() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.finished
}

// Err is the error of the disk that made the spool lose output, nil when there was none.
func (s *Spool) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

// Ack allows the spool to forget the records before offset to.
func (s *Spool) Ack(to int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if to > s.end {
		return fmt.Errorf("acknowledge up to %d: %w", to, ErrBeyond)
	}
	if to <= s.acked || s.closed {
		return nil
	}
	s.acked = to
	var gone []*segment
	for len(s.head) > 1 && s.head[0].end() <= to {
		gone, s.head = append(gone, s.head[0]), s.head[1:]
	}
	if len(gone) > 0 {
		_ = s.writeIndex() // an old index names files that are gone only after a crash within a full disk
		for _, g := range gone {
			s.remove(g)
		}
	}
	if s.followers > 0 {
		s.promote(false)
	}
	s.changed.Broadcast()
	return nil
}

func (s *Spool) remove(g *segment) {
	if g.file != nil {
		_ = g.file.Close()
		_ = os.Remove(filepath.Join(s.dir, segmentName(g.seq)))
	}
}

// Finish appends the End record. Writers that wait and later ones get ErrFinished.
func (s *Spool) Finish() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.finished || s.closed {
		return nil
	}
	s.promote(true)
	t := s.stamp(s.o.Now())
	if s.lost > 0 {
		s.inline(t, Dropped, binary.BigEndian.AppendUint64(nil, s.lost))
	}
	rec := Append(nil, t, End, nil)
	if s.failed != nil || s.put(&s.head, rec, t) != nil {
		s.inline(t, End, nil)
	} else {
		s.end += HeaderSize
	}
	s.finished = true
	s.changed.Broadcast()
	return s.failed
}

// Close ends all waiting and closes the files. What was written stays.
func (s *Spool) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.closeFiles()
	s.changed.Broadcast()
	return nil
}

func (s *Spool) closeFiles() {
	for _, segs := range [][]*segment{s.head, s.tail} {
		for _, g := range segs {
			if g.file != nil {
				_ = g.file.Close() // written with write(2): nothing is pending
			}
		}
	}
}

// stamp makes t non-decreasing.
func (s *Spool) stamp(t int64) int64 {
	s.last = max(s.last, t)
	return s.last
}

// write appends the record rec, whose header is filled in here. t is when its data was read.
func (s *Spool) write(stream Stream, rec []byte, t int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.writeLocked(stream, rec, t)
}

func (s *Spool) writeLocked(stream Stream, rec []byte, t int64) error {
	n := int64(len(rec))
	for !s.finished && !s.closed && s.followers > 0 && s.failed == nil && s.full(n) {
		s.changed.Wait()
	}
	data := uint64(n - HeaderSize) //nolint:gosec // rec has a header
	switch {
	case s.finished || s.closed:
		return ErrFinished
	case s.failed != nil:
		s.lost += data
		return nil //nolint:nilerr // said once, by fail and Finish
	}
	t = s.stamp(t)
	putHeader(rec, t, stream, int(data)) //nolint:gosec // at most MaxData
	var err error
	if s.full(n) {
		err = s.putTail(rec, t, data)
	} else if err = s.put(&s.head, rec, t); err == nil {
		s.end += n
		s.changed.Broadcast()
	}
	if err != nil {
		s.fail(err, data)
	}
	return nil // the script goes on; the output and Finish say what happened
}

// full reports whether n bytes more must not go into the head.
func (s *Spool) full(n int64) bool {
	return len(s.tail) > 0 || s.end > s.acked && s.end-s.acked+n > s.o.Cap
}

// putTail appends rec to the ring and drops what is then too old.
func (s *Spool) putTail(rec []byte, t int64, data uint64) error {
	n := int64(len(rec))
	size := max(s.o.Tail/8, 1)
	if g := lastOf(s.tail); g == nil || g.size+n > min(size, s.o.Segment) {
		var gone []*segment
		for len(s.tail) > 0 && s.tailSize+n > s.o.Tail {
			gone, s.tail = append(gone, s.tail[0]), s.tail[1:]
			s.tailSize -= gone[len(gone)-1].size
		}
		if err := s.begin(&s.tail, t); err != nil {
			return err
		}
		for _, g := range gone {
			s.remove(g)
		}
	}
	if err := s.put(&s.tail, rec, t); err != nil {
		return err
	}
	s.tailSize += n
	s.tailData += data
	return nil
}

// put appends rec to the last of segs, or to a new one when that is full.
func (s *Spool) put(segs *[]*segment, rec []byte, t int64) error {
	g := lastOf(*segs)
	if g == nil || g.file == nil || g.size > 0 && g.size+int64(len(rec)) > s.o.Segment {
		if err := s.begin(segs, t); err != nil {
			return err
		}
		g = lastOf(*segs)
	}
	if _, err := g.file.Write(rec); err != nil {
		_ = g.file.Truncate(g.size) // half a record; Open would cut it as well
		_, _ = g.file.Seek(g.size, io.SeekStart)
		return err
	}
	g.size += int64(len(rec))
	return nil
}

// begin adds an empty segment file to segs.
func (s *Spool) begin(segs *[]*segment, t int64) error {
	name := filepath.Join(s.dir, segmentName(s.seq+1))
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	s.seq++
	*segs = append(*segs, &segment{seq: s.seq, start: s.end, before: s.tailData, time: t, file: f})
	if err := s.writeIndex(); err != nil {
		*segs = (*segs)[:len(*segs)-1]
		_ = f.Close()
		_ = os.Remove(name)
		return err
	}
	return nil
}

// promote appends the tail to the head, if there is one and the head is within the cap or force is set.
func (s *Spool) promote(force bool) {
	if len(s.tail) == 0 || !force && s.end-s.acked > s.o.Cap {
		return
	}
	if first := s.tail[0]; first.before > 0 {
		s.mark(first.time, Dropped, binary.BigEndian.AppendUint64(nil, first.before))
	}
	for _, g := range s.tail {
		g.start = s.end
		s.end += g.size
	}
	s.head, s.tail = append(s.head, s.tail...), nil
	s.tailSize, s.tailData = 0, 0
	_ = s.writeIndex() // without it a crash finds the tail as it was: nothing is lost
	s.changed.Broadcast()
}

// mark adds a record that lives in the index.
func (s *Spool) mark(t int64, stream Stream, data []byte) {
	rec := Append(nil, t, stream, data)
	s.seq++
	s.head = append(s.head, &segment{seq: s.seq, start: s.end, size: int64(len(rec)), time: t, mem: rec})
	s.end += int64(len(rec))
}

// inline is mark, written to the index at once if the disk allows.
func (s *Spool) inline(t int64, stream Stream, data []byte) {
	s.mark(t, stream, data)
	_ = s.writeIndex() // on a full disk it stays in memory, which is all there is
	s.changed.Broadcast()
}

// fail ends the record of the output where the disk failed, and says so in it.
func (s *Spool) fail(err error, data uint64) {
	s.failed = fmt.Errorf("write the spool: %w", err)
	s.lost = data
	s.promote(true)
	s.inline(s.last, Stderr, []byte("\nThe output ends here: the agent could not store it ("+err.Error()+"). Make room where the agent keeps its state.\n"))
}
