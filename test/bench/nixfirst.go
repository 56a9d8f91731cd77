package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
	"gitlab.com/skerry/skerry/internal/nixstore/nixtest"
)

// firstBuild is a job that builds something and says when that was there. Its shell is the sandbox's.
const firstBuild = `nix-build --no-out-link -E 'derivation { name = "first"; system = "x86_64-linux"; builder = "/bin/sh"; args = [ "-c" "echo x > $out" ]; }' && ` +
	`echo "` + builtAt + `$(date +%s.%N)"`

const builtAt = "built at "

// nixFirstUse measures the time from a job's start to its first build where nothing is there but images: each job has
// a store of its own.
func nixFirstUse(ctx context.Context, s *settings, out *report, e containerEngine, ref, name string) (err error) {
	daemon, err := e.loadNix(ctx)
	if err != nil {
		return err
	}
	w := e.wish(ref, 1, e.socket)
	w.more = append(w.more, "  [runners.nix]", `    store = "shared"`, `    trust = "job"`, "    path = true", fmt.Sprintf("    image = %q", daemon), "    substituters = []")
	in, err := install(ctx, s, w)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.close()) }()
	var first []time.Duration
	for range max(s.rounds/4, 1) + 1 {
		j, err := in.job(ctx, gitlabtest.JobSpec{Script: []string{firstBuild}})
		if err != nil {
			return err
		}
		trace, err := in.co.Trace(j.ID)
		if err != nil {
			return err
		}
		when := string(trace[strings.LastIndex(string(trace), builtAt)+len(builtAt):]) // the line of the script comes first
		when, _, _ = strings.Cut(when, "\n")
		at, err := strconv.ParseFloat(strings.TrimSpace(when), 64) // to a microsecond, which will do
		if err != nil {
			return fmt.Errorf("the job does not say when it built: %w\n%s", err, trace)
		}
		first = append(first, time.Unix(0, int64(at*1e9)).Sub(j.HandedOut))
		if err := in.listening(ctx); err != nil {
			return err
		}
	}
	out.add(figure{name: name, value: median(first[1:]), unit: "ms", goal: &goal{limit: 3000}, note: "a new store for each job"})
	return nil
}

// loadNix gives the engine an image with Nix, and returns its name.
func (e containerEngine) loadNix(ctx context.Context) (string, error) {
	const ref = "docker.io/skerry/bench-nix:latest"
	if e.command(ctx, nil, "image", "inspect", ref) == nil {
		return ref, nil
	}
	path, err := nixtest.Archive(ctx, "trixie")
	if err != nil {
		return "", err
	}
	archive, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer archive.Close()
	return ref, e.command(ctx, archive, "import", "-", ref)
}
