package nested

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"gitlab.com/skerry/skerry/internal/agent/nested/kept"
)

// How often is looked. To ask a file system what is free costs microseconds, to count files much more.
const (
	tick        = 100 * time.Millisecond
	idle        = 15 * time.Second // between two counts when nothing says that too much may be kept
	idleShare   = 50               // times what a count takes is the least time between two of them then
	urgentShare = 4                // and when it may be too much
	countTime   = 20 * time.Second // that a count may take
	unknownTime = 10 * time.Second // that counts may fail while it may be too much
)

// disk watches what the engine keeps on disk. It counts the engine's files when the file system has so much less room than at the last
// count that the bound may be exceeded, whoever has taken it, and seldom otherwise: others may have made room meanwhile.
type disk struct {
	bound Bound
	free  func() ([]kept.Size, error)                  // what the file systems of the engine have left, that of its storage first
	count func(ctx context.Context) (kept.Size, error) // what the engine keeps
	now   func() time.Time

	used    kept.Size   // at the last count
	room    []kept.Size // the most that was free since it began; nil before the first look
	urgent  time.Time   // the next count is not before it
	idle    time.Time   // and not after it
	unknown time.Time   // since when counts fail although it may be too much; zero: they do not
}

// watch looks until ctx ends or too much is kept, and says why then.
func (d *disk) watch(ctx context.Context) (why string) {
	every := time.NewTicker(tick)
	defer every.Stop()
	for {
		if why := d.look(ctx); why != "" {
			return why
		}
		select {
		case <-every.C:
		case <-ctx.Done():
			return ""
		}
	}
}

// look looks once and says what is too much.
func (d *disk) look(ctx context.Context) (why string) {
	free, err := d.free()
	if err != nil {
		return "" // the next look may know
	}
	now := d.now()
	if d.room == nil {
		d.room, d.idle = slices.Clone(free), now.Add(idle)
	}
	may := d.bound.exceeded(d.used.Add(gone(d.room, free)), free[0])
	if now.Before(d.idle) && (!may || now.Before(d.urgent)) {
		return ""
	}
	counting, cancel := context.WithTimeout(ctx, countTime)
	used, err := d.count(counting)
	cancel()
	end := d.now()
	took := end.Sub(now)
	d.urgent, d.idle = end.Add(urgentShare*took), end.Add(max(idle, idleShare*took))
	if ctx.Err() != nil {
		return ""
	}
	if err != nil {
		return d.failed(err, may, end)
	}
	d.unknown = time.Time{}
	d.used, d.room = used, free // as it was when the count began: what has come since may be missing in it
	if free, err = d.free(); err == nil && d.bound.exceeded(used, free[0]) {
		return d.bound.words(used, free[0])
	}
	return ""
}

// failed is when the engine is ended because nobody knows what it keeps: a job can keep it from being counted.
func (d *disk) failed(err error, may bool, now time.Time) (why string) {
	switch {
	case !may:
		d.unknown = time.Time{}
	case d.unknown.IsZero():
		d.unknown = now
	case now.Sub(d.unknown) >= unknownTime:
		return fmt.Sprintf("what it keeps cannot be counted (%v), and may be more than %s", err, d.bound.setting())
	}
	return ""
}

// freeOf asks what is free where each of paths is.
func freeOf(paths []string) ([]kept.Size, error) {
	free := make([]kept.Size, len(paths))
	for i, path := range paths {
		var st unix.Statfs_t
		if err := unix.Statfs(path, &st); err != nil {
			return nil, fmt.Errorf("ask what is free at %s: %w", path, err)
		}
		free[i] = kept.Size{Bytes: int64(st.Bavail) * st.Frsize, Files: int64(st.Ffree)}
	}
	return free, nil
}

// gone is how much room there is less, where most is gone: usually all places are on one file system. room becomes the most that has been free.
func gone(room, free []kept.Size) (lost kept.Size) {
	for i := range free {
		room[i] = kept.Size{Bytes: max(room[i].Bytes, free[i].Bytes), Files: max(room[i].Files, free[i].Files)}
		lost = kept.Size{Bytes: max(lost.Bytes, room[i].Bytes-free[i].Bytes), Files: max(lost.Files, room[i].Files-free[i].Files)}
	}
	return lost
}
