package trace

import (
	"fmt"
	"hash/crc32"
)

// endEarly is what becomes of a log whose disk is full: output goes on being read, so that the job
// can end, and is counted; when it has ended, a last line says so. That line lives in memory, where
// uploads find it. The caller holds mu.
func (t *Trace) endEarly() {
	out := t.c.out
	if out.err == nil { // the checkpoint failed, not the log
		if t.at.Done {
			return
		}
		out.err = t.lost
	}
	if !t.at.Done || t.trailer != nil {
		return
	}
	left := out.total - out.size
	line := []byte{}
	if out.size > 0 && t.file.last != '\n' {
		line = append(line, '\n')
	}
	if t.c.stamps {
		line = append(line, t.c.ownHeader()...)
	}
	t.trailer = fmt.Appendf(line, "%sERROR: the log ends here: the runner could not store %d more bytes of it (%v). The job itself went on; its status is true. Tell the runner's administrator.%s\n",
		red, left, t.lost, reset)
}

func (t *Trace) trailerCRC() uint32 {
	return crc32.Update(t.c.out.crc, crc32.IEEETable, t.trailer)
}
