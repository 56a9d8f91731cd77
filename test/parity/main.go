// Command parity runs the same pipelines with Skerry and with GitLab Runner against the development
// coordinator and compares what users see: statuses, exit codes, reasons, artifacts, caches and logs. It
// prints every difference and ends with 1 when there is one that is not accepted; see rules.go for what
// is: each runner's own messages, and what is meant to differ.
package main

import (
	"context"
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

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("parity", flag.ContinueOnError)
	skerry := flags.String("skerry", "bin/skerry", "the skerry to compare")
	runner := flags.String("gitlab-runner", os.Getenv("GITLAB_RUNNER"), "the GitLab Runner to compare with [$GITLAB_RUNNER]")
	keep := flags.String("keep", "", "keep logs, artifacts and caches in this directory")
	accepted := flags.Bool("accepted", false, "show accepted differences, too")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *runner == "" {
		return fmt.Errorf("there is nothing to compare with: name a gitlab-runner binary in GITLAB_RUNNER or with --gitlab-runner")
	}
	dir := *keep
	if dir == "" {
		var err error
		if dir, err = os.MkdirTemp("", "skerry-parity"); err != nil {
			return err
		}
		defer os.RemoveAll(dir)
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	repositories := flags.Args()
	if len(repositories) == 0 {
		repositories = []string{"examples/demo", "test/parity/testdata/nasty"}
	}
	unexpected := 0
	for _, repository := range repositories {
		found, err := compareWith(ctx, filepath.Join(dir, filepath.Base(repository)), repository, *skerry, *runner)
		if err != nil {
			return err
		}
		for _, d := range found {
			if d.accepted == "" {
				unexpected++
				fmt.Fprintf(out, "DIFFERS  %s\n", d)
			} else if *accepted {
				fmt.Fprintf(out, "accepted %s\n         because %s\n", d, d.accepted)
			}
		}
		fmt.Fprintf(out, "%s: %d differences, %d of them accepted\n", repository, len(found), len(found)-count(found))
	}
	if unexpected > 0 {
		return fmt.Errorf("%d differences are not accepted", unexpected)
	}
	return nil
}

// count counts the differences that are not accepted.
func count(found []difference) int {
	n := 0
	for _, d := range found {
		if d.accepted == "" {
			n++
		}
	}
	return n
}

// compareWith runs the pipelines of a repository with both runners, one after the other.
func compareWith(ctx context.Context, dir, repository, skerry, gitlabRunner string) ([]difference, error) {
	source := filepath.Join(dir, "source")
	if err := makeRepositories(ctx, source, repository); err != nil {
		return nil, err
	}
	var seen [2]*outcome
	for i, s := range []side{{name: ours, program: skerry}, {name: theirs, program: gitlabRunner}} {
		s.dir = filepath.Join(dir, s.name)
		ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
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
