package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"time"

	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
)

// nixTogether measures many jobs that want the same build at the same time. It is an error if that is made more than once.
func nixTogether(ctx context.Context, s *settings, out *report, e containerEngine, ref, name string) (err error) {
	r, err := shareStore(ctx, s, e, ref, manyJobs)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.remove(ctx)) }()
	alone, _, err := r.together(ctx, 1)
	if err != nil {
		return err
	}
	all, building, err := r.together(ctx, manyJobs)
	if err != nil {
		return err
	}
	out.add(figure{
		name: name, value: all.Seconds(), unit: "s", floor: alone.Seconds(),
		note: fmt.Sprintf("built once for %d jobs, which have all ended %s s after the last of them came to it", manyJobs, trim(building.Seconds())),
	})
	return nil
}

// A build of two seconds that uses a processor, by nothing but a shell: there may be no program beside it. That it runs is a
// line in the log of the job that it runs for.
const (
	togetherBuild = `nix-build --no-out-link -E 'derivation { name = "together-%d"; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-c" ` +
		`"echo builder-$((40+2))-runs; read up rest < /proc/uptime; end=$((\${up%%.*}\${up#*.}+200)); ` +
		`while [ \${up%%.*}\${up#*.} -lt $end ]; do read up rest < /proc/uptime; done; echo x > $out" ]; }'`
	togetherRuns = "builder-42-runs"
)

// together runs n jobs that begin a build when all of them are there. It returns how long all of that took from the first one
// queued to the last one accepted, and how long from when they all were there.
func (r *nixRunner) together(ctx context.Context, n int) (all, building time.Duration, err error) {
	g, err := newGate(ctx)
	if err != nil {
		return 0, 0, err
	}
	defer g.close()
	script := []string{g.line(), fmt.Sprintf(togetherBuild, n)}
	start := time.Now()
	var ids []int64
	for range n {
		id, err := r.co.AddJob(ctx, gitlabtest.JobSpec{Script: script})
		if err != nil {
			return 0, 0, err
		}
		ids = append(ids, id)
	}
	if err := g.open(ctx, n); err != nil {
		return 0, 0, fmt.Errorf("%w\n%s", err, r.words())
	}
	opened, end := time.Now(), start
	var sum together
	for _, id := range ids {
		j, err := r.succeeded(ctx, id)
		if err != nil {
			return 0, 0, err
		}
		trace, err := r.co.Trace(id)
		if err != nil {
			return 0, 0, err
		}
		sum.add(trace)
		if j.Finished.After(end) {
			end = j.Finished
		}
	}
	if want := (together{builders: 1, built: 1, reused: n - 1}); sum != want {
		return 0, 0, fmt.Errorf("of %d jobs that wanted the same build the logs tell of %+v instead of %+v", n, sum, want)
	}
	return end.Sub(start), end.Sub(opened), nil
}

// together is what the logs of some jobs say about one path: how often its builder ran, and how the jobs came by it.
type together struct{ builders, built, reused int }

var accountLine = regexp.MustCompile(`Nix: (?:(\d+) built)?(?:, )?(?:(\d+) reused)?`)

// add counts what one job's log says.
func (t *together) add(trace []byte) {
	t.builders += bytes.Count(trace, []byte(togetherRuns))
	for i, words := range accountLine.FindSubmatch(trace) {
		number, _ := strconv.Atoi(string(words)) // none is nothing
		switch i {
		case 1:
			t.built += number
		case 2:
			t.reused += number
		}
	}
}

// gate is where jobs wait for each other: at the end of a connection.
type gate struct{ listener *net.TCPListener }

func newGate(ctx context.Context) (*gate, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", reachable())
	if err != nil {
		return nil, err
	}
	return &gate{l.(*net.TCPListener)}, nil //nolint:forcetypeassert // of that network
}

// line is how a script waits there.
func (g *gate) line() string {
	a := g.listener.Addr().(*net.TCPAddr) //nolint:forcetypeassert // see newGate
	return fmt.Sprintf("bash -c 'read -r x < /dev/tcp/%s/%d || true'", a.IP, a.Port)
}

// open lets jobs through when n of them wait.
func (g *gate) open(ctx context.Context, n int) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	defer context.AfterFunc(ctx, g.close)()
	for i := range n {
		c, err := g.listener.Accept()
		if err != nil {
			return fmt.Errorf("%d of %d jobs have come to where they wait for each other: %w", i, n, errors.Join(context.Cause(ctx), err))
		}
		defer c.Close()
	}
	return nil
}

func (g *gate) close() { _ = g.listener.Close() }
