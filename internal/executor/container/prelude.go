package container

import (
	"context"
	"io"
	"strings"
	"time"

	"gitlab.com/skerry/skerry/internal/agent"
)

// preludeLines is how much of what an entrypoint wrote is shown.
const preludeLines = 500

// preludeWait is how long the engine may be behind in reading what a container wrote. An entrypoint that sends the
// output of what it starts elsewhere costs that long.
const preludeWait = 2 * time.Second

// showPrelude puts what the image's entrypoint wrote before it started the agent into the job's log.
func (v *environment) showPrelude(ctx context.Context) {
	if len(v.entry()) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, preludeWait)
	defer cancel()
	said, err := prelude(ctx, func() (string, error) {
		return v.engine.Logs(context.WithoutCancel(ctx), v.b.Build.Name, preludeLines, 64<<10)
	})
	if err != nil {
		v.log.Debug("The output of an image's entrypoint cannot be read", "error", err)
	}
	for line := range strings.Lines(said) {
		_, _ = io.WriteString(v.out, strings.TrimSuffix(line, "\n")+"\n") // the log's own trouble is told elsewhere
	}
}

// prelude reads what was written before the agent's own line, until ctx ends and once more: an engine has what a container wrote
// some time after it was written, and what was written to either stream by itself, and it may be this process that was slow.
func prelude(ctx context.Context, read func() (string, error)) (string, error) {
	over := false
	for pause := 2 * time.Millisecond; ; pause *= 2 {
		said, err := read()
		if err != nil || over || strings.Count(said, agent.Serving) >= 2 {
			return withoutServing(said), err
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
		over = ctx.Err() != nil
	}
}

// withoutServing is what a container wrote without the agent's own lines.
func withoutServing(said string) string {
	var out strings.Builder
	for line := range strings.Lines(said) {
		line, own := strings.CutSuffix(line, agent.Serving)
		out.WriteString(line)
		if own && line != "" {
			out.WriteString("\n") // the entrypoint's last line had no end
		}
	}
	return out.String()
}
