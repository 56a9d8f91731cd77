package container

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// lookForRoom is the time from one look at the disk to the next while images are copied.
const lookForRoom = time.Second

// roomFor reports an error where the engine's disk has no room for a copy of images: each of the two engines writes them into a file first.
// Dir is where to look; empty: it cannot be known.
func (v *environment) roomFor(ctx context.Context, size int64) (dir string, err error) {
	dir, err = v.engine.RootDir(ctx)
	if err != nil {
		return "", err
	}
	free, err := freeAt(dir)
	if err != nil {
		v.log.Debug("It is not known what room there is for images that are offered to later jobs", "error", err)
		return "", nil
	}
	if need := 3*size + offerReserve; free < need {
		return "", fmt.Errorf("%d MiB are needed for a while and %d MiB are free at %s: make room there, or set nested_images to \"off\"", need>>20, free>>20, dir)
	}
	return dir, nil
}

// whileRoom does work as long as there are reserve bytes free at dir: how large images are is the job's word, and files with holes in them are
// larger when they are copied.
func whileRoom(ctx context.Context, dir string, reserve int64, every time.Duration, work func(context.Context) error) error {
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
			if free, err := freeAt(dir); err == nil && free < reserve {
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

// freeAt is how many bytes an ordinary user may still write into the file system of a directory.
func freeAt(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("look at the file system of %s: %w", dir, err)
	}
	return int64(st.Bavail) * st.Bsize, nil //nolint:gosec // far below
}
