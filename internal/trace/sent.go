package trace

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
)

// accepted is how much of the log the coordinator has taken, and how much it may have. Both count from the beginning
// of the log on file, which the coordinator has behind other bytes where that was made anew.
type accepted struct{ sent, tried, behind int64 }

const sentSize = 28

// storeSent overwrites the file; torn bytes fail their CRC and cost a 416.
func (t *Trace) storeSent(sent, tried int64) error {
	b := binary.BigEndian.AppendUint64(nil, uint64(sent))       //nolint:gosec // not negative
	b = binary.BigEndian.AppendUint64(b, uint64(tried))         //nolint:gosec // not negative
	b = binary.BigEndian.AppendUint64(b, uint64(t.behind()))    //nolint:gosec // not negative
	b = binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b)) // sentSize in all
	f, err := os.OpenFile(filepath.Join(t.opts.Dir, sentFile), os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("store the log's accepted size: %w", err)
	}
	k, err := t.opts.fault.check(sentFile, len(b))
	_, werr := f.WriteAt(b[:k], 0)
	return errors.Join(err, werr, f.Close())
}

// loadSent returns what storeSent stored; known is false when that is lost, or nothing was.
func (t *Trace) loadSent() (a accepted, known bool) {
	b, err := os.ReadFile(filepath.Join(t.opts.Dir, sentFile))
	if err != nil || len(b) != sentSize && len(b) != sentSize-8 { // of earlier versions, without the last number
		return a, false
	}
	n := len(b) - 4
	if crc32.ChecksumIEEE(b[:n]) != binary.BigEndian.Uint32(b[n:]) {
		return a, false
	}
	a.sent, a.tried = int64(binary.BigEndian.Uint64(b)), int64(binary.BigEndian.Uint64(b[8:])) //nolint:gosec // were not negative
	if len(b) == sentSize {
		a.behind = int64(binary.BigEndian.Uint64(b[16:])) //nolint:gosec // was not negative
	}
	return a, true
}

// behind is how many bytes the coordinator has before those of the log on file.
func (t *Trace) behind() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.before
}

// goBehind has the log follow what the coordinator has of it: the files that it was made of, and which said how much of
// it had been sent, are lost. What was made anew need not have the same bytes at the same places, so that
// to go on with it from where the coordinator's ends would leave out what is there. It returns errForeign when
// that is settled.
func (u *upload) goBehind(ctx context.Context, offset int64) error {
	note := u.t.lostPlace()
	if _, err := u.p.PatchTrace(ctx, note, offset); err != nil {
		return err
	}
	u.t.log.Warn("the coordinator has a log of this job that is not on file any more; what was made anew is added to it", "bytes", offset)
	u.t.mu.Lock()
	u.t.before = offset + int64(len(note))
	u.t.mu.Unlock()
	u.accepted(0)
	return errForeign
}

// lostPlace is madeAnew as a line of the log.
func (t *Trace) lostPlace() []byte {
	line := []byte("\n")
	if t.opts.Timestamps {
		var h stamp
		h.set(t.clock.Now().UnixMicro())
		line = append(line, h.text[:]...)
	}
	return append(line, yellow+madeAnew+reset+"\n"...)
}
