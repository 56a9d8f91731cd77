package spool

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// segment is a run of whole records: a file, or bytes in memory (marks, and what no longer fits on
// the disk). Its fields belong to Spool.mu; file may be read at any time.
type segment struct {
	seq    int64
	start  int64  // offset of its first byte; meaningless in the tail
	size   int64  // whole records only
	before uint64 // tail: bytes of output in the tail's life before this segment
	time   int64  // of its first record
	file   *os.File
	mem    []byte
}

func (g *segment) end() int64 { return g.start + g.size }

// indexEntry is a segment in the index. The size of the segment that was written last is that of
// its file.
type indexEntry struct {
	Seq    int64  `json:"seq"`
	Start  int64  `json:"start"`
	Size   int64  `json:"size"`
	Before uint64 `json:"before,omitempty"`
	Time   int64  `json:"time"`
	Mem    []byte `json:"mem,omitempty"`
}

type index struct {
	Head []indexEntry `json:"head"`
	Tail []indexEntry `json:"tail,omitempty"`
}

const indexName = "index"

func segmentName(seq int64) string { return "segment-" + strconv.FormatInt(seq, 10) }

// writeIndex replaces the index by what is in memory. s.mu is held.
func (s *Spool) writeIndex() error {
	entries := func(segs []*segment) []indexEntry {
		out := make([]indexEntry, 0, len(segs))
		for _, g := range segs {
			out = append(out, indexEntry{Seq: g.seq, Start: g.start, Size: g.size, Before: g.before, Time: g.time, Mem: g.mem})
		}
		return out
	}
	body, err := json.Marshal(index{Head: entries(s.head), Tail: entries(s.tail)})
	if err != nil {
		return fmt.Errorf("encode the spool's index: %w", err)
	}
	tmp := filepath.Join(s.dir, indexName+".new")
	if err := os.WriteFile(tmp, body, 0o600); err != nil {
		return fmt.Errorf("write the spool's index: %w", err)
	}
	if err := os.Rename(tmp, filepath.Join(s.dir, indexName)); err != nil {
		return fmt.Errorf("write the spool's index: %w", err)
	}
	return nil
}

// load reads what an earlier process left in s.dir and cuts what it did not finish.
func (s *Spool) load() error {
	body, err := os.ReadFile(filepath.Join(s.dir, indexName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read the spool's index: %w", err)
	}
	var ix index
	if err == nil {
		if err := json.Unmarshal(body, &ix); err != nil {
			return fmt.Errorf("read the spool's index: %w: %w", ErrCorrupt, err)
		}
	}
	if s.head, err = s.openAll(ix.Head); err == nil {
		s.tail, err = s.openAll(ix.Tail)
	}
	if err == nil {
		err = s.mend()
	}
	if err != nil {
		s.closeFiles()
		return err
	}
	s.sweep()
	return nil
}

func (s *Spool) openAll(entries []indexEntry) (segs []*segment, err error) {
	for _, e := range entries {
		g := &segment{seq: e.Seq, start: e.Start, size: e.Size, before: e.Before, time: e.Time, mem: e.Mem}
		if g.mem == nil {
			g.file, err = os.OpenFile(filepath.Join(s.dir, segmentName(e.Seq)), os.O_RDWR, 0)
			if errors.Is(err, fs.ErrNotExist) {
				continue // acknowledged or dropped, and the disk too full to say so; mend finds gaps
			}
			if err != nil {
				return segs, fmt.Errorf("open a segment of the spool: %w", err)
			}
		}
		segs = append(segs, g)
		s.seq = max(s.seq, g.seq)
		s.last = max(s.last, g.time)
	}
	return segs, nil
}

// mend finds the end of the last segment, cuts a torn record, and restores the counters.
func (s *Spool) mend() error {
	for i, g := range s.head {
		if i > 0 && g.start != s.head[i-1].end() {
			return fmt.Errorf("%w: the index has a gap at offset %d", ErrCorrupt, g.start)
		}
	}
	last := lastOf(s.tail)
	if last == nil {
		last = lastOf(s.head)
	}
	if last == nil {
		return nil
	}
	data, ended, err := s.scan(last)
	if err != nil {
		return err
	}
	s.finished = ended && len(s.tail) == 0
	if len(s.tail) > 0 {
		s.tailData = last.before + data
		for _, g := range s.tail {
			s.tailSize += g.size
		}
	}
	if g := lastOf(s.head); g != nil {
		s.end = g.end()
		s.acked = s.head[0].start
	}
	return nil
}

// scan sets g's size to that of its whole records and returns how much output they hold and whether
// the last of them is the End record.
func (s *Spool) scan(g *segment) (data uint64, ended bool, err error) {
	var size int64
	var r io.Reader = strings.NewReader(string(g.mem))
	if g.file != nil {
		r = io.NewSectionReader(g.file, 0, 1<<62)
	}
	for d := NewDecoder(r, 0); ; size = d.Offset() {
		rec, err := d.Next()
		if err != nil {
			break // the end, or the record that was not finished
		}
		if rec.Stream == Stdout || rec.Stream == Stderr {
			data += uint64(len(rec.Data))
		}
		s.last = max(s.last, rec.Time)
		ended = rec.Stream == End
	}
	g.size = size
	if g.file == nil {
		return data, ended, nil
	}
	if err := g.file.Truncate(size); err != nil {
		return 0, false, fmt.Errorf("cut an unfinished record: %w", err)
	}
	if _, err := g.file.Seek(size, io.SeekStart); err != nil {
		return 0, false, fmt.Errorf("cut an unfinished record: %w", err)
	}
	return data, ended, nil
}

// sweep removes segment files that the index does not name.
func (s *Spool) sweep() {
	known := map[string]bool{indexName: true}
	for _, segs := range [][]*segment{s.head, s.tail} {
		for _, g := range segs {
			known[segmentName(g.seq)] = true
		}
	}
	entries, _ := os.ReadDir(s.dir)
	for _, e := range entries {
		if !known[e.Name()] {
			_ = os.Remove(filepath.Join(s.dir, e.Name())) // takes space only
		}
	}
}

func lastOf(segs []*segment) *segment {
	if len(segs) == 0 {
		return nil
	}
	return segs[len(segs)-1]
}
