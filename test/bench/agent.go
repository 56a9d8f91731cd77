package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"gitlab.com/skerry/skerry/internal/agent"
	"gitlab.com/skerry/skerry/internal/agent/client"
	"gitlab.com/skerry/skerry/internal/agent/embedded"
)

// agentStart measures the time from an agent's start to its first answer. The floor is a shell that
// does nothing.
func agentStart(ctx context.Context, s *settings, out *report) error {
	dir := filepath.Join(s.dir, "agent-start")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	program, err := embedded.Install(dir)
	if err != nil {
		return err
	}
	var starts, floor []time.Duration
	for i := range s.rounds {
		start := time.Now()
		if err := command(ctx, dir, os.Environ(), "bash", "-c", ":"); err != nil {
			return err
		}
		floor = append(floor, time.Since(start))
		one, err := oneAgent(ctx, program, filepath.Join(dir, fmt.Sprint("place", i)))
		if err != nil {
			return err
		}
		starts = append(starts, one)
	}
	out.add(figure{name: "agent-start", value: median(starts), unit: "ms", floor: median(floor)})
	return nil
}

// oneAgent starts an agent in a new directory, waits for its answer and ends it.
func oneAgent(ctx context.Context, program, dir string) (d time.Duration, err error) {
	if err := errors.Join(os.Mkdir(dir, 0o700), agent.Config{}.Write(dir)); err != nil {
		return 0, err
	}
	exe, err := embedded.Place(program, dir)
	if err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(ctx, exe)
	cmd.Dir, cmd.SysProcAttr = "/", &syscall.SysProcAttr{Setsid: true}
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	c := client.New(func(ctx context.Context) (net.Conn, error) { return dial(ctx, filepath.Join(dir, "sock")) }, 1)
	defer c.Close()
	_, err = c.Hello(ctx)
	d = time.Since(start)
	if err != nil {
		_ = cmd.Process.Kill()
	} else {
		err = c.Shutdown(ctx)
	}
	return d, errors.Join(err, cmd.Wait())
}

// dial tries until the agent listens.
func dial(ctx context.Context, dir string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(200 * time.Microsecond)
	defer tick.Stop()
	for {
		conn, err := agent.Dial(dir)
		if err == nil {
			return conn, nil
		}
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ECONNREFUSED) {
			return nil, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}
