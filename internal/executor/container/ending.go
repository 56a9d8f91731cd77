package container

import (
	"context"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"gitlab.com/skerry/skerry/internal/agent/client"
	"gitlab.com/skerry/skerry/internal/executor"
)

const (
	// endTime is how long agents may take to end, with what jobs left behind: what has not ended then is killed.
	endTime = time.Second
	// noticeTime is what an engine needs to notice that a container has ended.
	noticeTime = 20 * time.Millisecond
	// lastEpoch is higher than that of any runner process: an environment that is being removed has no other master.
	lastEpoch = math.MaxInt64
)

// endPlaces lets the agents end by themselves before their containers are removed: to kill one is a process of its own
// for an engine, and Podman then looks only ten times a second whether it has helped. Whatever comes of it, the
// removal ends what runs. An agent that is reached through the engine is not asked: that is dearer.
func (v *environment) endPlaces(ctx context.Context) {
	if v.b.Agent == nil || v.b.Agent.Volume != "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, endTime)
	defer cancel()
	var asking sync.WaitGroup
	var ended atomic.Bool
	for _, place := range []executor.Place{executor.Helper, executor.Build} {
		asking.Go(func() {
			c := client.New(func(ctx context.Context) (net.Conn, error) { return v.connect(ctx, place) }, lastEpoch)
			defer c.Close()
			if err := c.Shutdown(ctx); err != nil {
				v.log.Debug("An agent does not end by itself: its container is killed", "place", place, "error", err)
				return
			}
			ended.Store(true)
		})
	}
	asking.Wait()
	if !ended.Load() {
		return
	}
	timer := time.NewTimer(noticeTime)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
