// Package hold keeps store paths that a job knows from being collected until the job ends.
package hold

import (
	"context"

	"gitlab.com/skerry/skerry/internal/nixstore/nixwire"
)

// Holder keeps store paths from being collected for as long as the job lasts, also when the connections that asked for
// them are closed. It is safe for concurrent use.
type Holder interface {
	// Hold makes roots of paths, which need not be valid (yet) and may be held already. When it returns nil the roots are
	// there for every collection that begins from now on.
	Hold(ctx context.Context, paths []nixwire.StorePath) error
	// Release takes back roots that Hold has made for paths that turned out not to be valid.
	Release(paths []nixwire.StorePath)
	// Ready waits until all that is held is safe, as it may not be while the daemon restarts.
	Ready(ctx context.Context) error
	// Close ends the holder. Links stay: whoever removes the job's environment removes them.
	Close() error
}
