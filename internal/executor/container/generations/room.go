package generations

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// WhileRoom does work as long as there are reserve bytes free at dir: how large images are is the job's word, and files with holes in them are
// larger when they are copied. It looks each time that every is over; an empty dir is nowhere to look. The error is why work was ended, if it was, and else work's.
func WhileRoom(ctx context.Context, dir string, reserve int64, every time.Duration, work func(context.Context) error) error {
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
			if free, err := FreeAt(dir); err == nil && free < reserve {
				stop(fmt.Errorf("they take more room than they should: %d MiB are free at %s", free>>20, dir))
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
