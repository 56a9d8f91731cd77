package engine

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/trace"
)

// reportTime bounds what an executor may say of a job's services at its end.
const reportTime = 5 * time.Second

// company is what runs beside a job's places: its services.
type company struct {
	with executor.Companion
	stop context.CancelFunc
	done chan struct{}
	once sync.Once
}

// accompany begins to show what the environment's services write, if the job wants that. Nothing waits for it.
func (x *execution) accompany(ctx context.Context, env executor.Environment) {
	with, ok := env.(executor.Companion)
	if !ok {
		return
	}
	c := &company{with: with, done: make(chan struct{})}
	ctx, c.stop = context.WithCancel(context.WithoutCancel(ctx))
	x.company = c
	if !x.plan.Settings.DebugServices {
		close(c.done)
		return
	}
	go func() {
		defer close(c.done)
		with.Follow(ctx, func(i int) io.Writer {
			return x.trace.StreamLines(fmt.Sprintf("service/%d/", i), trace.FirstService+i)
		})
	}()
}

// leave ends it, no matter what the executor does.
func (c *company) leave() {
	if c == nil {
		return
	}
	c.once.Do(func() {
		c.stop()
		t := time.NewTimer(reportTime)
		defer t.Stop()
		select {
		case <-c.done:
		case <-t.C:
		}
	})
}

// end says in the log which services ended before the job did.
func (c *company) end(ctx context.Context, x *execution) {
	if c == nil {
		return
	}
	c.leave()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), reportTime)
	defer cancel()
	c.with.Report(ctx, x.trace.Lines("services/"))
}
