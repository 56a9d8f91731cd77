package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
)

// idleFlag makes this program the floor of the memory figures: a Go process that holds one request.
const idleFlag = "-idle-floor"

// idle asks for a URL that does not answer, and waits.
func idle(args []string, stderr io.Writer) int {
	if len(args) != 1 {
		return 2
	}
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, args[0], nil)
	if err == nil {
		var res *http.Response
		if res, err = http.DefaultClient.Do(req); err == nil {
			err = res.Body.Close()
		}
	}
	fmt.Fprintln(stderr, err)
	return 1
}

// rssIdle measures a runner that waits for jobs.
func rssIdle(ctx context.Context, s *settings, out *report) (err error) {
	in, err := install(ctx, s, wish{concurrent: 4})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.close()) }()
	floor, err := idleFloor(ctx)
	if err != nil {
		return err
	}
	rss, err := settled(ctx, in.runner.Process.Pid)
	if err != nil {
		return err
	}
	out.add(figure{name: "rss-idle", value: rss, unit: "MiB", floor: floor, goal: &goal{limit: 25}})
	return nil
}

const blocked = 100

// rssJobs measures a runner while a hundred jobs are in their scripts.
func rssJobs(ctx context.Context, s *settings, out *report) (err error) {
	in, err := install(ctx, s, wish{concurrent: blocked, keys: []string{"request_concurrency = 8"}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.close()) }()
	floor, err := idleFloor(ctx)
	if err != nil {
		return err
	}
	marks, gate := filepath.Join(in.dir, "marks"), filepath.Join(in.dir, "gate")
	if err := errors.Join(os.Mkdir(marks, 0o755), syscall.Mkfifo(gate, 0o600)); err != nil {
		return err
	}
	var ids []int64
	for range blocked {
		id, err := in.co.AddJob(ctx, gitlabtest.JobSpec{Script: []string{fmt.Sprintf(": > %s/$CI_JOB_ID; read -r _ < %s || :", marks, gate)}})
		if err != nil {
			return err
		}
		ids = append(ids, id)
	}
	err = until(ctx, func() bool {
		entries, err := os.ReadDir(marks)
		return err == nil && len(entries) == blocked
	})
	var rss float64
	if err == nil {
		rss, err = settled(ctx, in.runner.Process.Pid)
	}
	f, gateErr := os.OpenFile(gate, os.O_RDWR, 0) // opens without a reader, and lets the readers in
	if gateErr != nil {
		return errors.Join(err, gateErr)
	}
	_, writeErr := f.WriteString(strings.Repeat("\n", blocked))
	for _, id := range ids {
		_, one := in.succeeded(ctx, id)
		err = errors.Join(err, one)
	}
	if err = errors.Join(err, writeErr, f.Close()); err != nil {
		return err
	}
	out.add(figure{name: "rss-100-jobs", value: rss, unit: "MiB", floor: floor, goal: &goal{limit: 60}})
	peak, err := memory(in.runner.Process.Pid, "VmHWM")
	if err != nil {
		return err
	}
	out.add(figure{name: "rss-100-jobs-peak", value: peak, unit: "MiB", floor: floor})
	return nil
}

// idleFloor is the memory of a Go program that does nothing but hold a request.
func idleFloor(ctx context.Context) (float64, error) {
	silent := newSilent()
	defer silent.close()
	url, err := silent.listen(ctx)
	if err != nil {
		return 0, err
	}
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := exec.CommandContext(ctx, self, idleFlag, url)
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	rss, err := settled(ctx, cmd.Process.Pid)
	cancel()
	_ = cmd.Wait() // it was killed
	return rss, err
}

// settled is a process's resident memory in MiB, when it has not changed by a hundredth for a second.
func settled(ctx context.Context, pid int) (float64, error) {
	last, err := memory(pid, "VmRSS")
	since := time.Now()
	if err != nil {
		return 0, err
	}
	limit := time.Now().Add(5 * time.Second)
	err = until(ctx, func() bool {
		now, readErr := memory(pid, "VmRSS")
		if readErr != nil {
			err = readErr
			return true
		}
		if now > last*1.01 || now < last*0.99 {
			last, since = now, time.Now()
		}
		return time.Since(since) > time.Second || time.Now().After(limit)
	})
	return last, err
}

// memory reads one of the sizes in /proc/PID/status, in MiB.
func memory(pid int, key string) (float64, error) {
	value := field(fmt.Sprintf("/proc/%d/status", pid), key)
	kib, err := strconv.ParseFloat(strings.TrimSuffix(value, " kB"), 64)
	if err != nil {
		return 0, fmt.Errorf("%s of process %d: %w", key, pid, err)
	}
	return kib / 1024, nil
}

// until looks every 20 ms whether cond has come true: nobody announces what it looks at.
func until(ctx context.Context, cond func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}
