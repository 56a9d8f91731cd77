package gateway

import (
	"errors"
	"math"

	"gitlab.com/skerry/skerry/internal/nixstore/nixconn"
	"gitlab.com/skerry/skerry/internal/nixstore/nixwire"
)

// ahead is how many bytes follow that need not be seen. A client may still change them, if it has lent the kernel its pages;
// the daemon judges what it has read.
func (c content) ahead(a *nixwire.Archive) uint64 {
	switch {
	case c.archive:
		return a.Ahead()
	case c.limit > 0:
		return 0
	default:
		return math.MaxUint64
	}
}

// tunnel is what large files pass through, made when the first one comes.
type tunnel struct {
	from, to *nixconn.Conn
	made     *nixconn.Tunnel
	none     bool // there can be none
}

// worthwhile is how large a file has to be for a tunnel to be made.
const worthwhile = 256 << 10

// pass passes on at most ahead bytes of content that nobody needs to see, and returns how many have passed.
func (t *tunnel) pass(in *nixwire.Frames, ahead uint64) (uint64, error) {
	if t.none || ahead < worthwhile || in.Buffered() {
		return 0, nil
	}
	if t.made == nil {
		var err error
		if t.made, err = nixconn.NewTunnel(t.from, t.to); err != nil {
			t.none = true // everything passes in its usual way
			return 0, nil //nolint:nilerr // see above
		}
	}
	if err := t.to.W.Flush(); err != nil {
		return 0, err
	}
	n, err := in.Through(t.made, ahead)
	if n == 0 && errors.Is(err, errors.ErrUnsupported) {
		t.none, err = true, nil
	}
	return n, err
}

func (t *tunnel) close() {
	if t.made != nil {
		t.made.Close()
	}
}
