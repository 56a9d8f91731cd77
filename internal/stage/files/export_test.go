package files

import (
	"context"
	"os"
	"time"

	"gitlab.com/skerry/skerry/internal/stage"
	"gitlab.com/skerry/skerry/internal/stage/task"
)

// Choose is choose, for tests that need a place.
func Choose(ctx context.Context, tk *task.Task, root *os.Root, f stage.Files) ([]string, time.Time, error) {
	return choose(ctx, tk, root, f)
}
