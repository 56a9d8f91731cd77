package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
	"gitlab.com/skerry/skerry/internal/image/podmantest"
)

// nestedRuns is how many containers one job has run.
const nestedRuns = 5

// nestedScript is a job that gives its own engine an image and says when a container of that has run, and how long more take.
var nestedScript = []string{ //nolint:gochecknoglobals // a constant
	`mkdir -p box/bin && cp /bin/busybox box/bin && tar -C box -cf box.tar . && podman --remote import -q box.tar box && podman --remote run --rm box /bin/busybox true && ` +
		`echo "` + ranAt + `$(date +%s.%N)"`,
	fmt.Sprintf(`for i in $(seq %d); do podman --remote run --rm box /bin/busybox true; done; echo "`+ranAllAt+`$(date +%%s.%%N)"`, nestedRuns),
}

const (
	ranAt    = "the first ran at "
	ranAllAt = "all ran at "
)

// nestedAbreast is how many jobs with engines of their own are run at once.
const nestedAbreast = 10

// nestedPair is a job that builds an image, and has a container of it asked by another one on a network and by itself.
var nestedPair = []string{ //nolint:gochecknoglobals // a constant
	`mkdir -p box/bin && cp /bin/busybox box/bin && printf 'FROM scratch\nCOPY bin /bin\nRUN ["/bin/busybox","touch","/built"]\n' > box/Containerfile && podman --remote build -q -t box box`,
	`podman --remote network create pair && podman --remote run -d --name web --network pair -p 8080:80 -v $PWD:/src box /bin/busybox httpd -f -p 80 -h /src`,
	`podman --remote run --rm --network pair box /bin/busybox wget -q -O - http://web/box/Containerfile`,
	`busybox wget -q -O - http://docker:8080/box/Containerfile`,
}

// nestedAtOnce measures the time in which ten jobs at once build an image and run two containers of it.
func nestedAtOnce(ctx context.Context, s *settings, out *report, w wish, name string) (err error) {
	in, err := install(ctx, s, w)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.close()) }()
	if _, err := in.manyOf(ctx, nestedAbreast, gitlabtest.JobSpec{Script: []string{"true"}}); err != nil { // the slots are made
		return err
	}
	took, err := in.manyOf(ctx, nestedAbreast, gitlabtest.JobSpec{Script: nestedPair})
	if err != nil {
		return err
	}
	out.add(figure{name: name + "-10-at-once", value: took.Seconds() * 1000, unit: "ms", note: "each builds an image and runs two containers of it"})
	return nil
}

// nested measures the time from a job's start to the end of its first container of its own engine, and what further ones take.
func nested(ctx context.Context, s *settings, out *report, e containerEngine, name string) (err error) {
	image, err := e.loadPodman(ctx)
	if err != nil {
		return err
	}
	with := func(concurrent int) wish {
		w := e.wish(image, concurrent, e.socket)
		w.project = false
		w.more = append(w.more, `    nested = "podman"`, fmt.Sprintf("    nested_image = %q", image))
		return w
	}
	if err := nestedAtOnce(ctx, s, out, with(nestedAbreast), name); err != nil {
		return err
	}
	in, err := install(ctx, s, with(1))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.close()) }()
	var first, run, floor []time.Duration
	for range max(s.rounds/4, 1) + 1 {
		start := time.Now()
		if err := e.command(ctx, nil, "run", "--rm", image, "busybox", "true"); err != nil {
			return err
		}
		floor = append(floor, time.Since(start))
		j, err := in.job(ctx, gitlabtest.JobSpec{Script: nestedScript})
		if err != nil {
			return err
		}
		trace, err := in.co.Trace(j.ID)
		if err != nil {
			return err
		}
		one, err := saidAt(trace, ranAt)
		if err != nil {
			return err
		}
		all, err := saidAt(trace, ranAllAt)
		if err != nil {
			return err
		}
		first, run = append(first, one.Sub(j.HandedOut)), append(run, all.Sub(one)/nestedRuns)
		if err := in.listening(ctx); err != nil {
			return err
		}
	}
	out.add(figure{name: name + "-first", value: median(first[1:]), unit: "ms", goal: &goal{limit: 2000}, note: "with the import of its image"})
	out.add(figure{name: name + "-run", value: median(run[1:]), unit: "ms", floor: median(floor[1:]), goal: &goal{limit: 1.5, ratio: true}})
	return nil
}

// loadPodman gives the engine the image of nested engines, which is that of the jobs, too.
func (e containerEngine) loadPodman(ctx context.Context) (name string, err error) {
	p, err := podmantest.New(ctx)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	if e.command(ctx, nil, "image", "inspect", p.Name) == nil {
		return p.Name, nil
	}
	r, w := io.Pipe()
	go func() { _ = w.CloseWithError(p.Write(w)) }()
	return p.Name, e.command(ctx, r, "load")
}
