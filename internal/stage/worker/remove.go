package worker

import (
	"context"
	"errors"
	"fmt"

	"gitlab.com/skerry/skerry/internal/stage"
	"gitlab.com/skerry/skerry/internal/stage/task"
	"gitlab.com/skerry/skerry/internal/stage/tree"
)

// remove deletes what spec names; it goes on after an error and reports all of them.
func remove(ctx context.Context, tk *task.Task, s *stage.Remove) stage.Result {
	paths := s.Paths
	if s.Project && tk.Spec.Dir != "" {
		paths = append(paths[:len(paths):len(paths)], tk.Spec.Dir)
	}
	var errs []error
	for _, p := range paths {
		if err := context.Cause(ctx); err != nil {
			errs = append(errs, err)
			break
		}
		if err := tree.RemoveAll(p); err != nil {
			errs = append(errs, fmt.Errorf("remove: %w", err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return task.System(err)
	}
	return stage.Result{}
}
