package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"gitlab.com/skerry/skerry/internal/nixstore/gateway"
	"gitlab.com/skerry/skerry/internal/nixstore/nixtest"
)

// nixGateway measures what the gateway costs between a client and a real daemon: the same commands through it and
// directly, in turn.
func nixGateway(ctx context.Context, s *settings, out *report) (err error) {
	n, err := nixtest.Make(ctx, "2.26")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.Remove()) }()
	stop, err := n.Start(ctx, os.Stderr)
	if err != nil {
		return err
	}
	defer stop()
	end, err := serveNix(ctx, n)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, end()) }()
	through, direct, err := nixTimes(ctx, n, s.rounds, cachedBuild)
	if err != nil {
		return err
	}
	out.add(figure{name: "nix-cached-build", value: median(through), unit: "ms", floor: median(direct), goal: &goal{limit: 1.1, ratio: true}, note: "gateway alone"})
	through, direct, err = nixTimes(ctx, n, 3, addFile)
	if err != nil {
		return err
	}
	speed := func(all []time.Duration) float64 { return 1024 / slices.Min(all).Seconds() }
	out.add(figure{name: "nix-add-1GiB", value: speed(through), unit: "MiB/s", floor: speed(direct), goal: &goal{limit: 0.9, ratio: true, atLeast: true}})
	return nil
}

// serveNix starts a gateway to n's daemon.
func serveNix(ctx context.Context, n *nixtest.Nix) (end func() error, err error) {
	g, err := gateway.New(gateway.Config{Listen: n.Listen(), Upstream: n.Socket(), Roots: n.Gate(), Job: "job"}, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	served := make(chan error, 1)
	go func() { served <- g.Serve(ctx) }()
	return func() error {
		cancel()
		return <-served
	}, nil
}

// What is measured: a shell's command, with the variable i for the round.
const (
	cachedBuild = `nix-build --no-out-link -E 'derivation { name = "cached"; system = builtins.currentSystem; builder = "/bin/sh"; args = ["-c" "echo x > $out"]; }'`
	addFile     = `nix-store --add /mnt/big-$i`
)

// nixTimes runs a command through the gateway and directly, in turn, and returns how long each took. A file of a gibibyte is
// made before each, and what was added is deleted after it.
func nixTimes(ctx context.Context, n *nixtest.Nix, rounds int, command string) (through, direct []time.Duration, err error) {
	for round := range rounds + 1 { // the first one warms up
		for _, way := range []struct {
			env   []string
			times *[]time.Duration
		}{{nixtest.Job(), &through}, {nixtest.Direct(), &direct}} {
			if command == addFile {
				if err := os.WriteFile(filepath.Join(n.Dir, "big-"+strconv.Itoa(round)), bigFile(len(direct)+len(through)), 0o600); err != nil {
					return nil, nil, err
				}
			}
			stdout, stderr, err := n.Run(ctx, append(way.env, "i="+strconv.Itoa(round)), "sh", "-ec", `start=$(date +%s%N); path=$(`+command+`); end=$(date +%s%N); echo $((end - start)) $path`)
			if err != nil {
				return nil, nil, fmt.Errorf("%w: %s", err, stderr)
			}
			took, path, _ := strings.Cut(stdout, " ")
			ns, err := strconv.ParseInt(took, 10, 64)
			if err != nil {
				return nil, nil, err
			}
			if round > 0 {
				*way.times = append(*way.times, time.Duration(ns))
			}
			if command == addFile {
				if err := forget(ctx, n, path, round); err != nil {
					return nil, nil, err
				}
			}
		}
	}
	return through, direct, nil
}

// bigFile is a gibibyte that differs from others.
func bigFile(number int) []byte {
	b := make([]byte, 1<<30)
	for i := 0; i < len(b); i += 4096 {
		b[i], b[i+1], b[i+2] = byte(number), byte(i>>12), byte(i>>20) //nolint:gosec // any will do
	}
	return b
}

// forget deletes a path, which the job then no longer holds, and the file that it was made of.
func forget(ctx context.Context, n *nixtest.Nix, path string, round int) error {
	err := os.Remove(filepath.Join(n.Gate(), "jobs", "job", filepath.Base(path)))
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	if _, stderr, err := n.Run(ctx, nixtest.Direct(), "nix-store", "--delete", path); err != nil {
		return fmt.Errorf("%w: %s", err, stderr)
	}
	return os.Remove(filepath.Join(n.Dir, "big-"+strconv.Itoa(round)))
}
