package trace

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"

	"gitlab.com/skerry/skerry/internal/trace/mask"
)

// position says how far the outline has been rendered.
type position struct {
	Entry  int   `json:"entry"`  // the entry in hand
	Inside bool  `json:"inside"` // in the spool of an Include
	Offset int64 `json:"offset"` // in that spool: the next record
	Done   bool  `json:"done"`   // Close has been rendered
}

// checkpoint is everything that rendering needs to go on after the process was killed. Bytes that a
// mask holds back are the beginning of a secret, which mask.State names instead of repeating it.
type checkpoint struct {
	Inputs  uint32         `json:"inputs"` // of what the log depends on beside outline and spools
	At      position       `json:"at"`
	Now     int64          `json:"now"`
	Midline bool           `json:"midline"`
	Patched bool           `json:"patched,omitempty"`
	Streams [3]streamState `json:"streams"` // own, stdout, stderr
	Total   int64          `json:"total"`
	Size    int64          `json:"size"`
	CRC     uint32         `json:"crc"`
	Tail    int            `json:"tail"` // size of the tail, which follows the JSON
	tail    []byte
}

type streamState struct {
	Mask  mask.State `json:"mask"`
	More  bool       `json:"more,omitempty"`
	Part  []byte     `json:"part,omitempty"`
	Since int64      `json:"since,omitempty"`
}

const checkpointMagic = "skerry trace checkpoint 1\n"

var errDamaged = errors.New("the checkpoint is damaged")

// encode lays a checkpoint out: magic, length of the JSON, JSON, tail, CRC of all that.
func (k *checkpoint) encode() ([]byte, error) {
	k.Tail = len(k.tail)
	j, err := json.Marshal(k)
	if err != nil {
		return nil, fmt.Errorf("encode the checkpoint: %w", err)
	}
	b := make([]byte, 0, len(checkpointMagic)+8+len(j)+len(k.tail))
	b = append(b, checkpointMagic...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(j))) //nolint:gosec // some KiB
	b = append(append(b, j...), k.tail...)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b)), nil
}

func decodeCheckpoint(b []byte) (*checkpoint, error) {
	n := len(checkpointMagic)
	if len(b) < n+8 || string(b[:n]) != checkpointMagic ||
		crc32.ChecksumIEEE(b[:len(b)-4]) != binary.BigEndian.Uint32(b[len(b)-4:]) {
		return nil, errDamaged
	}
	size := int64(binary.BigEndian.Uint32(b[n:]))
	b = b[n+4 : len(b)-4]
	if size > int64(len(b)) {
		return nil, errDamaged
	}
	k := &checkpoint{}
	if err := json.Unmarshal(b[:size], k); err != nil {
		return nil, fmt.Errorf("%w: %w", errDamaged, err)
	}
	if k.tail = b[size:]; len(k.tail) != k.Tail {
		return nil, errDamaged
	}
	return k, nil
}

// loadCheckpoint returns os.ErrNotExist when there is none.
func loadCheckpoint(dir string) (*checkpoint, error) {
	b, err := os.ReadFile(filepath.Join(dir, checkpointFile))
	if err != nil {
		return nil, fmt.Errorf("read the checkpoint: %w", err)
	}
	return decodeCheckpoint(b)
}

// snapshot describes c, which must have been flushed.
func (c *composer) snapshot(at position) *checkpoint {
	k := &checkpoint{
		Inputs: c.inputs(), At: at, Now: c.now, Midline: c.midline,
		Total: c.out.total, Size: c.out.size, CRC: c.out.crc, tail: c.out.tail(),
	}
	for i, s := range []*stream{c.own, c.stdout, c.stderr} {
		k.Streams[i] = streamState{Mask: s.filter.State(), More: s.more, Part: s.part, Since: s.since}
	}
	return k
}

// resume brings a new composer to where snapshot was taken.
func (c *composer) resume(k *checkpoint) error {
	if k.Inputs != c.inputs() {
		return fmt.Errorf("%w: it was made with other secrets or options", errDamaged)
	}
	if k.Size < 0 || k.Total < k.Size || k.Tail > 0 && int64(k.Tail) > c.out.limit-k.Size || k.At.Entry < 0 || k.At.Offset < 0 {
		return errDamaged
	}
	for i, s := range []*stream{c.own, c.stdout, c.stderr} {
		st := k.Streams[i]
		if err := s.filter.Restore(st.Mask); err != nil {
			return fmt.Errorf("%w: %w", errDamaged, err)
		}
		s.more, s.part, s.since = st.More, st.Part, st.Since
	}
	c.now, c.midline = k.Now, k.Midline
	c.out.total, c.out.size, c.out.crc, c.out.ring = k.Total, k.Size, k.CRC, k.tail
	return nil
}

// inputs names everything that the log depends on beside outline and spools.
func (c *composer) inputs() uint32 {
	return crc32.ChecksumIEEE(fmt.Appendf(nil, "%08x %t %t %d", c.set.ID(), c.stamps, c.sections, c.out.limit))
}
