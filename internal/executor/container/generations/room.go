package generations

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Room is what a copy of images may take of a file system for a while.
type Room struct {
	Bytes int64 // it may take
	Floor int64 // are to stay free
}

// slack is what a copy may take beyond what its images should, which may have many small files.
const slack = 1 << 30

// RoomFor is what a copy of images of size bytes may take where free bytes are: four times as much, since both engines write them into a file
// first, and file systems round up. It may not be more than a quarter of what is free beyond reserve, for jobs' engines are bounded by what is free:
// ok is false where it would have to be.
func RoomFor(free, size, reserve int64) (r Room, ok bool) {
	most := (free - reserve) / 4
	if most <= 0 || size > most/4 {
		return Room{}, false
	}
	return Room{Bytes: min(4*size+slack, most), Floor: free - most}, true // others write meanwhile
}

// WhileRoom does work as long as there are floor bytes free at dir: how large images are is the job's word, and files with holes in them are
// larger when they are copied. It looks each time that every is over; an empty dir is nowhere to look. The error is why work was ended, if it was, and else work's.
func WhileRoom(ctx context.Context, dir string, floor int64, every time.Duration, work func(context.Context) error) error {
	if dir == "" {
		return work(ctx)
	}
	ctx, stop := context.WithCancelCause(ctx)
	var looking sync.WaitGroup
	looking.Go(func() {
		look := time.NewTicker(every)
		defer look.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-look.C:
			}
			if free, err := FreeAt(dir); err == nil && free < floor {
				stop(fmt.Errorf("they take more room than they should, or others write as much meanwhile: %d MiB are free at %s, and %d MiB were to stay free", free>>20, dir, floor>>20))
			}
		}
	})
	err := work(ctx)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	stop(nil)
	looking.Wait()
	return err
}

// FreeAt is how many bytes an ordinary user may still write into the file system of a directory.
func FreeAt(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("look at the file system of %s: %w", dir, err)
	}
	return int64(st.Bavail) * st.Bsize, nil //nolint:gosec // far below
}
