package nixd

import (
	"fmt"
	"sync"

	"gitlab.com/skerry/skerry/internal/nixstore/hold"
	"gitlab.com/skerry/skerry/internal/nixstore/nixd/volumes"
	"gitlab.com/skerry/skerry/internal/socketfile"
)

// Holder is the name of the socket, beside the daemon's, at which the roots of jobs are made. Helpers see the directory
// read-only.
const Holder = "holder"

// holdRoots makes the roots of jobs until stop is called.
func holdRoots(l volumes.Layout) (stop func(), err error) {
	listener, err := socketfile.Listen(l.Gate()+"/daemon/"+Holder, 0o666) // who reaches it is decided by who mounts the volume
	if err != nil {
		return nil, fmt.Errorf("make the socket for the roots of jobs: %w", err)
	}
	s := &hold.Server{Roots: l.Gate(), Store: l.Store()}
	var served sync.WaitGroup
	served.Go(func() { s.Serve(listener) })
	return func() {
		_ = listener.Close() // nothing to lose
		served.Wait()
	}, nil
}
