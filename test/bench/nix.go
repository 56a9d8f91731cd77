package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
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
// directly, in turn. The store is in memory, where there is enough: a disk takes a time of its own.
func nixGateway(ctx context.Context, s *settings, out *report) (err error) {
	base, share, note := memoryDir(s)
	if share < 1 {
		base, note = s.dir, "on disk"
	}
	n, err := nixtest.MakeIn(ctx, "2.26", base)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.Remove()) }()
	stop, err := n.Start(ctx, io.Discard)
	if err != nil {
		return err
	}
	defer stop()
	end, err := serveNix(ctx, n)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, end()) }()
	through, direct, err := nixTimes(ctx, n, max(s.rounds, 2), cachedBuild, nil)
	if err != nil {
		return err
	}
	out.add(figure{name: "nix-cached-build", value: median(through), unit: "ms", floor: median(direct), goal: &goal{limit: 1.1, ratio: true}, note: "gateway alone"})
	if err := bigFile(filepath.Join(n.Dir, "big")); err != nil {
		return err
	}
	through, direct, err = nixTimes(ctx, n, max(s.rounds/3, 2), addFile, func(path string) error { return forget(ctx, n, path) })
	if err != nil {
		return err
	}
	speed := func(all []time.Duration) float64 { return 1024 / slices.Min(all).Seconds() }
	out.add(figure{name: "nix-add-1GiB", value: speed(through), unit: "MiB/s", floor: speed(direct), goal: &goal{limit: 0.9, ratio: true, atLeast: true}, note: note})
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

// What is measured: a shell's command.
const (
	cachedBuild = `nix-build --no-out-link -E 'derivation { name = "cached"; system = builtins.currentSystem; builder = "/bin/sh"; args = ["-c" "echo x > $out"]; }'`
	addFile     = `nix-store --add /mnt/big`
)

// nixTimes runs a command through the gateway and directly, in turn and each first as often as the other, and returns how
// long each took. after, which may be nil, gets what it has printed.
func nixTimes(ctx context.Context, n *nixtest.Nix, rounds int, command string, after func(path string) error) (through, direct []time.Duration, err error) {
	type way struct {
		env   []string
		times *[]time.Duration
	}
	ways := []way{{nixtest.Job(), &through}, {nixtest.Direct(), &direct}}
	for round := range rounds + 1 { // the first one warms up
		for _, w := range ways {
			stdout, stderr, err := n.Run(ctx, w.env, "sh", "-ec", `start=$(date +%s%N); path=$(`+command+`); end=$(date +%s%N); echo $((end - start)) $path`)
			if err != nil {
				return nil, nil, fmt.Errorf("%w: %s", err, stderr)
			}
			took, path, _ := strings.Cut(stdout, " ")
			ns, err := strconv.ParseInt(took, 10, 64)
			if err != nil {
				return nil, nil, err
			}
			if round > 0 {
				*w.times = append(*w.times, time.Duration(ns))
			}
			if after != nil {
				if err := after(path); err != nil {
					return nil, nil, err
				}
			}
		}
		slices.Reverse(ways)
	}
	return through, direct, nil
}

// bigFile makes a file of a gibibyte no two pages of which are the same.
func bigFile(name string) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	part := make([]byte, 1<<20)
	for i := 0; i < 1<<10 && err == nil; i++ {
		for at := 0; at < len(part); at += 4096 {
			binary.LittleEndian.PutUint32(part[at:], uint32(i<<8|at>>12)) //nolint:gosec // any will do
		}
		_, err = f.Write(part)
	}
	return errors.Join(err, f.Close())
}

// forget deletes a path, which the job then no longer holds.
func forget(ctx context.Context, n *nixtest.Nix, path string) error {
	err := os.Remove(filepath.Join(n.Gate(), "jobs", "job", filepath.Base(path)))
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	if _, stderr, err := n.Run(ctx, nixtest.Direct(), "nix-store", "--delete", path); err != nil {
		return fmt.Errorf("%w: %s", err, stderr)
	}
	return nil
}
