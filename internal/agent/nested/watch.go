package nested

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"gitlab.com/skerry/skerry/internal/agent/nested/kept"
)

// How often is looked. To ask a file system what is free costs microseconds, to count files much more.
const (
	tick        = 100 * time.Millisecond
	idle        = 15 * time.Second // between two counts when nothing says that too much may be kept
	idleShare   = 50               // times what a count takes is the least time between two of them then
	idleMost    = time.Minute      // but no more than this
	urgentShare = 4                // and when it may be too much
	urgentMost  = 2 * time.Second
	countTime   = 20 * time.Second // that a count may take
	stuckTime   = 5 * time.Second  // that the end of one which takes longer may take
	unknownTime = 10 * time.Second // that counts may fail while it may be too much
	lateTime    = 10 * time.Second // that nobody may have looked: a job can leave the program no processor
)

// errStuck is what is said of a count that does not even end when its time is over.
var errStuck = errors.New("the count does not end")

// disk watches what the engine keeps on disk. It counts the engine's files when the file system has so much less room than at the last
// count that the bound may be exceeded, whoever has taken it, and seldom otherwise: others may have made room meanwhile.
type disk struct {
	bound Bound
	free  func() ([]kept.Size, error)                  // what the file systems of the engine have left, that of its storage first
	count func(ctx context.Context) (kept.Size, error) // what the engine keeps
	now   func() time.Time

	used     kept.Size   // at the last count
	before   kept.Size   // what was free at the first look, where its storage is
	room     []kept.Size // the most that was free since it began; nil before the first look
	last     time.Time   // the last look; zero before the first one
	urgent   time.Time   // the next count is not before it
	idle     time.Time   // and not after it
	unknown  time.Time   // since when nobody knows although it may be too much; zero: somebody does
	counting *counting   // the count that goes on; nil: none does
}

// counting is a count that goes on.
type counting struct {
	began time.Time
	free  []kept.Size // then
	said  chan counted
}

// counted is what a count has said.
type counted struct {
	used kept.Size
	err  error
}

// watch looks until ctx ends or too much is kept, and says why then.
func (d *disk) watch(ctx context.Context) (why string) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // it does not wait for a count, whose start a job can hold up until all of the job has ended
	every := time.NewTicker(tick)
	defer every.Stop()
	for {
		if why := d.look(ctx); why != "" {
			return why
		}
		var said chan counted
		if d.counting != nil {
			said = d.counting.said
		}
		select {
		case <-every.C:
		case c := <-said:
			if why := d.take(ctx, c); why != "" {
				return why
			}
		case <-ctx.Done():
			return ""
		}
	}
}

// look looks once and says what is too much. It begins to count when that is due, and does not wait for it.
func (d *disk) look(ctx context.Context) (why string) {
	now := d.now()
	if !d.last.IsZero() && now.Sub(d.last) > lateTime {
		d.blind(d.last, now)
	}
	d.last = now
	free, err := d.free()
	if err != nil {
		d.blind(now, now)
		return d.failed(err, true, now, now)
	}
	if d.room == nil {
		d.room, d.before, d.idle = slices.Clone(free), free[0], now.Add(idle)
	}
	most := d.used.Add(gone(d.room, free))
	if full(most, free[0]) {
		return d.words(d.used, free[0]) // a count would come too late
	}
	may := d.bound.exceeded(most, free[0])
	if c := d.counting; c != nil {
		if now.Sub(c.began) < countTime+stuckTime {
			return ""
		}
		return d.failed(errStuck, may, c.began, now)
	}
	if !now.Before(d.idle) || may && !now.Before(d.urgent) {
		d.begin(ctx, free, now)
	}
	return ""
}

// blind has a count begin at once, since nobody has known since then what is free.
func (d *disk) blind(since, now time.Time) {
	d.urgent, d.idle = now, now
	if d.unknown.IsZero() {
		d.unknown = since
	}
}

// begin begins to count.
func (d *disk) begin(ctx context.Context, free []kept.Size, now time.Time) {
	c := &counting{began: now, free: slices.Clone(free), said: make(chan counted, 1)}
	d.counting = c
	go func() {
		ctx, cancel := context.WithTimeout(ctx, countTime)
		defer cancel()
		used, err := d.count(ctx)
		c.said <- counted{used, err}
	}()
}

// take takes what the count that goes on has said, and says what is too much.
func (d *disk) take(ctx context.Context, said counted) (why string) {
	c, end := d.counting, d.now()
	d.counting = nil
	took := end.Sub(c.began)
	d.urgent, d.idle = end.Add(min(urgentShare*took, urgentMost)), end.Add(min(max(idle, idleShare*took), idleMost))
	if ctx.Err() != nil {
		return ""
	}
	free, err := d.free()
	if err != nil {
		d.blind(end, end)
		return d.failed(err, true, end, end)
	}
	if said.err != nil {
		d.urgent = end
		return d.failed(said.err, d.bound.exceeded(d.used.Add(gone(d.room, free)), free[0]), c.began, end)
	}
	d.unknown = time.Time{}
	d.used, d.room = said.used, c.free // as it was when the count began: what has come since may be missing in it
	if d.bound.exceeded(said.used, free[0]) {
		return d.words(said.used, free[0])
	}
	return ""
}

// failed is when the engine is ended because nobody has known since then what it keeps: a job can keep it from being counted.
func (d *disk) failed(err error, may bool, since, now time.Time) (why string) {
	switch {
	case !may:
		d.unknown = time.Time{}
		return ""
	case d.unknown.IsZero():
		d.unknown = since
	}
	if now.Sub(d.unknown) < unknownTime {
		return ""
	}
	return fmt.Sprintf("what it keeps cannot be counted (%v), and may be more than %s", err, d.bound.setting())
}

// words say what was kept and what may be, and whether it is too much because of others.
func (d *disk) words(used, free kept.Size) string {
	others := d.before.Bytes - used.Bytes - free.Bytes
	without := kept.Size{Bytes: d.before.Bytes - used.Bytes, Files: d.before.Files - used.Files}
	if others <= 0 || d.bound.exceeded(used, without) {
		return d.bound.words(used, free)
	}
	return d.bound.words(used, free) + fmt.Sprintf("; others have taken the room: %s since it was started", size(others))
}

// freeOf asks what is free where places are.
func freeOf(places []kept.Place) ([]kept.Size, error) {
	free := make([]kept.Size, len(places))
	for i, p := range places {
		var err error
		if free[i], err = p.Free(); err != nil {
			return nil, err
		}
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
