package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/store"
	"gitlab.com/skerry/skerry/internal/gitlab/jobpayload"
)

const (
	shortLines = 3_000_000  // of 8 bytes
	longLines  = 10_000_000 // of 100 bytes
)

// logShort measures what a log of many short lines costs beyond the script that writes it.
func logShort(ctx context.Context, s *settings, out *report) error {
	jobs, floor, err := longLog(ctx, s, 3, 8, shortLines)
	if err != nil {
		return err
	}
	out.add(figure{name: "log-short", value: (jobs - floor).Seconds(), unit: "s", floor: floor.Seconds(), goal: &goal{limit: 1}, note: "value is what comes on top of the floor"})
	return nil
}

// logLong measures how much of long lines gets through.
func logLong(ctx context.Context, s *settings, out *report) error {
	jobs, floor, err := longLog(ctx, s, 1, 100, longLines)
	if err != nil {
		return err
	}
	rate := func(d time.Duration) float64 { return longLines * 100 / 1e6 / d.Seconds() }
	out.add(figure{name: "log-long", value: rate(jobs), unit: "MB/s", floor: rate(floor), goal: &goal{limit: 100, atLeast: true}})
	return nil
}

// longLog runs a job that writes lines of a size (the newline counts), and the same script by hand
// into a pipe; both in turn, and the shortest of each.
func longLog(ctx context.Context, s *settings, rounds, size, lines int) (jobs, floor time.Duration, err error) {
	in, err := install(ctx, s, wish{concurrent: 1, traces: store.HashOnly, keys: []string{"output_limit = 4194304"}})
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, in.close()) }()
	script := fmt.Sprintf("{ yes '%s' || :; } | head -c %d", strings.Repeat("1234567 ", size)[:size-1], size*lines)
	spec := gitlabtest.JobSpec{Script: []string{script}, Variables: secrets(20)}
	for range rounds {
		hand, err := in.pipe(ctx, script)
		if err != nil {
			return 0, 0, err
		}
		j, err := in.job(ctx, spec)
		if err != nil {
			return 0, 0, err
		}
		if j.TraceSize < int64(size*lines) {
			return 0, 0, fmt.Errorf("the log has %d bytes, which is less than the script wrote", j.TraceSize)
		}
		if jobs == 0 || took(j) < jobs {
			jobs = took(j)
		}
		if floor == 0 || hand < floor {
			floor = hand
		}
	}
	return jobs, floor, nil
}

// pipe runs a script as the job's shell does, its output read and thrown away by another process.
func (in *installation) pipe(ctx context.Context, script string) (time.Duration, error) {
	start := time.Now()
	err := command(ctx, in.dir, in.env, "bash", "--login", "-c", script+" | cat >/dev/null")
	return time.Since(start), err
}

// secrets are masked variables; none of them is in the output, which is the usual case.
func secrets(n int) []jobpayload.Variable {
	var list []jobpayload.Variable
	for i := range n {
		list = append(list, jobpayload.Variable{
			Key: fmt.Sprint("SECRET_", i), Value: fmt.Sprintf("%c%cS3cr3t-%02d-%s", 'a'+i, 'A'+i, i, strings.Repeat("xY", i)), Masked: true,
		})
	}
	return list
}
