package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"gitlab.com/skerry/skerry/internal/agent/client"
	"gitlab.com/skerry/skerry/internal/agent/embedded"
	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/shell"
	"gitlab.com/skerry/skerry/internal/job"
)

// agentStart measures the shell executor's way from nothing to an agent that has answered. The
// floor is a shell that does nothing.
func agentStart(ctx context.Context, s *settings, out *report) error {
	dir := filepath.Join(s.dir, "agent-start")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	program, err := embedded.Install(dir)
	if err != nil {
		return err
	}
	exec := shell.New(shell.Options{Dir: filepath.Join(dir, "envs"), Agent: program}, slog.New(slog.DiscardHandler))
	var starts, floor []time.Duration
	for range s.rounds {
		start := time.Now()
		if err := command(ctx, dir, os.Environ(), "bash", "-c", ":"); err != nil {
			return err
		}
		floor = append(floor, time.Since(start))
		one, err := oneAgent(ctx, exec)
		if err != nil {
			return err
		}
		starts = append(starts, one)
	}
	out.add(figure{name: "agent-start", value: median(starts), unit: "ms", floor: median(floor)})
	return nil
}

func oneAgent(ctx context.Context, exec *shell.Executor) (d time.Duration, err error) {
	start := time.Now()
	env, err := exec.Prepare(ctx, executor.NewRef("0123456789abcdef"), &job.Job{}, io.Discard)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, env.Close(ctx)) }()
	c := client.New(func(ctx context.Context) (net.Conn, error) { return env.Dial(ctx, executor.Helper) }, 1)
	defer c.Close()
	_, err = c.Hello(ctx)
	return time.Since(start), err
}
