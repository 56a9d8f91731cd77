package store

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"sync"
)

// Mode says where logs are kept.
type Mode int

// The modes. A hash still finds gaps, overlaps and wrong sums; it only cannot show the log, and a
// fault that loses a part of it loses all of it.
const (
	InMemory Mode = iota
	InFile
	HashOnly
)

// NewLog returns an empty log. Path is where InFile keeps it.
func NewLog(mode Mode, path string) *Log { return &Log{mode: mode, path: path} }

// Log is one job's log: its size and CRC-32 always, its bytes unless the mode keeps none. Its
// methods may be called concurrently.
type Log struct {
	mu   sync.Mutex
	mode Mode
	size int64
	sum  uint32 // IEEE
	data []byte
	path string
	file *os.File // opened by the first append
}

// State returns the size and the CRC-32 (IEEE) of what is there.
func (t *Log) State() (size int64, sum uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.size, t.sum
}

// Append adds p at offset start, and returns the size afterwards and whether start was the end.
func (t *Log) Append(start int64, p []byte) (size int64, fits bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if start != t.size {
		return t.size, false, nil
	}
	switch t.mode {
	case InMemory:
		t.data = append(t.data, p...)
	case InFile:
		if t.file == nil {
			if t.file, err = os.OpenFile(t.path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600); err != nil {
				return t.size, true, fmt.Errorf("trace file: %w", err)
			}
		}
		if _, err := t.file.WriteAt(p, start); err != nil {
			return t.size, true, fmt.Errorf("trace file: %w", err)
		}
	}
	t.size += int64(len(p))
	t.sum = crc32.Update(t.sum, crc32.IEEETable, p)
	return t.size, true, nil
}

// Truncate loses everything from offset n on; a mere hash loses everything.
func (t *Log) Truncate(n int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n = min(n, t.size)
	switch t.mode {
	case InMemory:
		t.data = t.data[:n]
		t.sum = crc32.ChecksumIEEE(t.data)
	case InFile:
		t.sum = 0
		if t.file != nil {
			h := crc32.NewIEEE()
			_, _ = io.Copy(h, io.NewSectionReader(t.file, 0, n)) // a short read shows as a wrong checksum later
			t.sum = h.Sum32()
		}
	default:
		n, t.sum = 0, 0
	}
	t.size = n
}

// Bytes returns the whole log.
func (t *Log) Bytes() ([]byte, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.mode == HashOnly:
		return nil, errors.New("the trace was not kept (HashOnly)")
	case t.mode == InMemory:
		return append([]byte(nil), t.data...), nil
	case t.size == 0:
		return nil, nil
	}
	b := make([]byte, t.size)
	f, err := os.Open(t.path)
	if err != nil {
		return nil, fmt.Errorf("trace file: %w", err)
	}
	defer f.Close()
	if _, err := io.ReadFull(f, b); err != nil {
		return nil, fmt.Errorf("trace file: %w", err)
	}
	return b, nil
}

// Close closes the file; the log stays readable.
func (t *Log) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.file != nil {
		_ = t.file.Close() // written with WriteAt; nothing is buffered
		t.file = nil
	}
}
