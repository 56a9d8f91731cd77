package journal

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	bolt "go.etcd.io/bbolt"
)

// maxBatch bounds how many changes one commit takes.
const maxBatch = 256

// operation is one change on its way into a commit.
type operation struct {
	apply func(*bolt.Tx) error // fails before its first change or not at all; may be called again
	done  chan error           // gets the outcome; buffered, so the loop never waits for a caller
	err   error                // apply's own outcome
}

// errNothing rolls a transaction back that has changed nothing.
var errNothing = errors.New("nothing to commit")

// do has apply run in a commit and waits until that is on disk.
func (j *Journal) do(ctx context.Context, apply func(*bolt.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	op := &operation{apply: apply, done: make(chan error, 1)}
	if err := j.submit(ctx, op); err != nil {
		return err
	}
	select {
	case err := <-op.done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (j *Journal) submit(ctx context.Context, op *operation) error {
	j.mu.RLock()
	defer j.mu.RUnlock()
	if j.closed {
		return ErrClosed
	}
	select {
	case j.ops <- op:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// commitLoop is the only writer. What arrives while one commit is on its way to the disk goes
// into the next together, so a busy runner needs no delay to share an fsync and an idle one pays none.
func (j *Journal) commitLoop() {
	defer close(j.stopped)
	for op := range j.ops {
		runtime.Gosched() // lets callers that are just waking from the last commit join this one
		j.commit(j.gather(op))
	}
}

func (j *Journal) gather(first *operation) []*operation {
	batch := []*operation{first}
	for len(batch) < maxBatch {
		select {
		case op, ok := <-j.ops:
			if !ok {
				return batch
			}
			batch = append(batch, op)
		default:
			return batch
		}
	}
	return batch
}

// commit commits batch and tells each caller. When the commit fails, each change is tried alone:
// one that is too large for what is left of the disk must not fail the others.
func (j *Journal) commit(batch []*operation) {
	err := j.transact(batch)
	if err != nil && len(batch) > 1 {
		for _, op := range batch {
			j.commit([]*operation{op})
		}
		return
	}
	for _, op := range batch {
		if err != nil {
			op.done <- fmt.Errorf("commit: %w", err)
			continue
		}
		op.done <- op.err
	}
}

func (j *Journal) transact(batch []*operation) error {
	err := j.db.Update(func(tx *bolt.Tx) error {
		changed := false
		for _, op := range batch {
			op.err = op.apply(tx)
			changed = changed || op.err == nil
		}
		if !changed {
			return errNothing
		}
		return nil
	})
	if errors.Is(err, errNothing) {
		return nil
	}
	return err
}
