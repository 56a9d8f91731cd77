package container

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"time"

	"gitlab.com/skerry/skerry/internal/agent/nested"
	"gitlab.com/skerry/skerry/internal/executor/container/generations"
)

// lookForRoom is the time from one look at the disk to the next while images are copied.
const lookForRoom = time.Second

// roomFor is what a copy of images may take of the engine's disk; an error where that is too much. Dir is where to look; empty: it cannot be known.
func (v *environment) roomFor(ctx context.Context, size int64) (dir string, r generations.Room, err error) {
	dir, err = v.engine.RootDir(ctx)
	if err != nil {
		return "", r, err
	}
	free, err := generations.FreeAt(dir)
	if err != nil {
		v.log.Debug("It is not known what room there is for images that are offered to later jobs", "error", err)
		r, _ = generations.RoomFor(math.MaxInt64, size, 0)
		return "", r, nil
	}
	reserve := cmp.Or(v.e.host.OfferReserve, offerReserve)
	r, ok := generations.RoomFor(free, size, reserve)
	if !ok {
		return "", r, fmt.Errorf("a copy of %d MiB may take four times as much for a while, which is more than a quarter of what is free at %s beyond %d MiB (%d MiB are free): "+
			"make room there, or set nested_images to \"off\"", size>>20, dir, reserve>>20, free>>20)
	}
	return dir, r, nil
}

// readerBound is what the engine that copies are read from may keep: what the job's own might, and an archive of it besides.
func readerBound(job nested.Bound) *nested.Bound {
	if job.Bytes > 0 {
		job.Bytes += generations.MaxBytes + generations.MaxBytes/8
	}
	return &job
}
