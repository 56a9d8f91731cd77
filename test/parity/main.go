// Command parity runs the same pipelines with Skerry and with GitLab Runner against the development
// coordinator and compares what users see: statuses, exit codes, reasons, artifacts, caches and logs. It
// prints every difference and ends with 1 when there is one that is not accepted; see rules.go for what
// is: each runner's own messages, and what is meant to differ.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "parity:", err)
		os.Exit(1)
	}
}

// settings are what the command line asks for.
type settings struct {
	skerry, runner string
	keep           string
	accepted       bool
	rounds         int
	engine         engine
	repositories   []string
}

func parse(args []string) (settings, error) {
	var s settings
	flags := flag.NewFlagSet("parity", flag.ContinueOnError)
	flags.StringVar(&s.skerry, "skerry", "bin/skerry", "the skerry to compare")
	flags.StringVar(&s.runner, "gitlab-runner", os.Getenv("GITLAB_RUNNER"), "the GitLab Runner to compare with [$GITLAB_RUNNER]")
	flags.StringVar(&s.keep, "keep", "", "keep logs, artifacts and caches in this directory")
	flags.BoolVar(&s.accepted, "accepted", false, "show accepted differences, too")
	flags.IntVar(&s.rounds, "rounds", 2, "how often the pipelines run in the same directories")
	flags.StringVar(&s.engine.host, "engine", "", "compare the docker executors with this engine (unix:///var/run/docker.sock)")
	flags.StringVar(&s.engine.image, "image", "debian:trixie", "the jobs' image, and the base of those in test/parity/testdata/images: one with bash, git and busybox")
	flags.StringVar(&s.engine.helper, "helper-image", "", "the helper image of GitLab Runner; empty: its own")
	flags.StringVar(&s.engine.address, "address", "", "an address of this machine that containers reach")
	if err := flags.Parse(args); err != nil {
		return s, err
	}
	if s.runner == "" {
		return s, errors.New("there is nothing to compare with: name a gitlab-runner binary in GITLAB_RUNNER or with --gitlab-runner")
	}
	if s.repositories = flags.Args(); len(s.repositories) == 0 {
		s.repositories = []string{"examples/demo", "test/parity/testdata/nasty"}
		if s.engine.host != "" {
			s.repositories = []string{"test/parity/testdata/docker"}
		}
	}
	return s, nil
}

func run(ctx context.Context, args []string, out io.Writer) error {
	s, err := parse(args)
	if err != nil {
		return err
	}
	dir := s.keep
	if dir == "" {
		if dir, err = os.MkdirTemp("", "skerry-parity"); err != nil {
			return err
		}
		defer os.RemoveAll(dir)
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	var with *engine
	if s.engine.host != "" {
		with = &s.engine
		if err := with.prepare(ctx); err != nil {
			return err
		}
	}
	unexpected := 0
	for _, repository := range s.repositories {
		found, err := compareWith(ctx, filepath.Join(dir, filepath.Base(repository)), repository,
			side{name: ours, program: s.skerry, engine: with, rounds: s.rounds}, side{name: theirs, program: s.runner, engine: with, rounds: s.rounds})
		if err != nil {
			return err
		}
		unexpected += show(out, repository, found, s.accepted)
	}
	if unexpected > 0 {
		return fmt.Errorf("%d differences are not accepted", unexpected)
	}
	return nil
}

// show prints the differences and returns how many of them are not accepted.
func show(out io.Writer, repository string, found []difference, accepted bool) (unexpected int) {
	for _, d := range found {
		if d.accepted == "" {
			unexpected++
			fmt.Fprintf(out, "DIFFERS  %s\n", d)
		} else if accepted {
			fmt.Fprintf(out, "accepted %s\n         because %s\n", d, d.accepted)
		}
	}
	fmt.Fprintf(out, "%s: %d differences, %d of them accepted\n", repository, len(found), len(found)-unexpected)
	return unexpected
}

// compareWith runs the pipelines of a repository with both runners, one after the other.
func compareWith(ctx context.Context, dir, repository string, skerry, gitlabRunner side) ([]difference, error) {
	source := filepath.Join(dir, "source")
	if err := makeRepositories(ctx, source, repository); err != nil {
		return nil, err
	}
	var seen [2]*outcome
	for i, s := range []side{skerry, gitlabRunner} {
		s.dir = filepath.Join(dir, s.name)
		ctx, cancel := context.WithTimeout(ctx, 20*time.Minute)
		o, err := s.run(ctx, source)
		cancel()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
		seen[i] = o
		if err := o.write(filepath.Join(s.dir, "seen")); err != nil {
			return nil, err
		}
	}
	return compare(strings.TrimPrefix(repository, "test/parity/testdata/"), seen[0], seen[1]), nil
}
