package main

import (
	"context"
	"errors"
	"time"

	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
)

// firstBuild is a job that builds something and says when that was there. Its shell is the sandbox's.
const firstBuild = `nix-build --no-out-link -E 'derivation { name = "first"; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-c" "echo x > $out" ]; }' && ` +
	`echo "` + builtAt + `$(date +%s.%N)"`

const builtAt = "built at "

// nixFirstUse measures the time from a job's start to its first build where nothing is there but images: each job has
// a store of its own.
func nixFirstUse(ctx context.Context, s *settings, out *report, e containerEngine, ref, name string) (err error) {
	daemon, err := e.loadNix(ctx)
	if err != nil {
		return err
	}
	in, err := install(ctx, s, e.nixWish(ref, daemon, 1, `trust = "job"`))
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
		built, err := saidAt(trace, builtAt)
		if err != nil {
			return err
		}
		first = append(first, built.Sub(j.HandedOut))
		if err := in.listening(ctx); err != nil {
			return err
		}
	}
	out.add(figure{name: name, value: median(first[1:]), unit: "ms", goal: &goal{limit: 3000}, note: "a new store for each job"})
	return nil
}
