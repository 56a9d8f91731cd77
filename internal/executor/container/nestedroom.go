package container

import (
	"context"
	"fmt"
	"time"

	"gitlab.com/skerry/skerry/internal/executor/container/generations"
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
	free, err := generations.FreeAt(dir)
	if err != nil {
		v.log.Debug("It is not known what room there is for images that are offered to later jobs", "error", err)
		return "", nil
	}
	if need := 3*size + offerReserve; free < need {
		return "", fmt.Errorf("%d MiB are needed for a while and %d MiB are free at %s: make room there, or set nested_images to \"off\"", need>>20, free>>20, dir)
	}
	return dir, nil
}
