package engineapi

import (
	"context"
	"fmt"
	"io"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/client"
)

// Follow writes all that a container has written and writes to out, each line behind its time, until the
// container ends, out fails or ctx ends.
func (e *Engine) Follow(ctx context.Context, name string, out io.Writer) error {
	e.calls.Add(1)
	r, err := e.c.ContainerLogs(ctx, name, client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true, Timestamps: true, Follow: true})
	if err != nil {
		return fmt.Errorf("follow the log of container %s: %w", name, err)
	}
	defer r.Close()
	defer context.AfterFunc(ctx, func() { _ = r.Close() })()
	if _, err := stdcopy.StdCopy(out, out, r); err != nil {
		return fmt.Errorf("follow the log of container %s: %w", name, err)
	}
	return nil
}
