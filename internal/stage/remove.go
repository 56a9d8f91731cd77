package stage

import (
	"context"
	"errors"
	"fmt"
)

// remove deletes what spec names; it goes on after an error and reports all of them.
func (r *run) remove(ctx context.Context, s *Remove) Result {
	paths := s.Paths
	if s.Project && r.spec.Dir != "" {
		paths = append(paths[:len(paths):len(paths)], r.spec.Dir)
	}
	var errs []error
	for _, p := range paths {
		if err := context.Cause(ctx); err != nil {
			errs = append(errs, err)
			break
		}
		if err := removeAll(p); err != nil {
			errs = append(errs, fmt.Errorf("remove: %w", err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return system(err)
	}
	return Result{}
}
