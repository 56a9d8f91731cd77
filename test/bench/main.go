// Command bench measures how fast skerry is: real runner processes against a coordinator in this
// process, each figure beside a floor that is taken in the same run, so that the machine and its
// load cancel out as far as they can. docs/benchmarks.md says what each line means.
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
	"regexp"
	"runtime"
	"strings"
	"syscall"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == idleFlag {
		os.Exit(idle(os.Args[2:], os.Stderr))
	}
	if len(os.Args) > 1 && os.Args[1] == serveFlag {
		os.Exit(serve(os.Stderr))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := bench(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// settings are the flags and what follows from them.
type settings struct {
	skerry  string         // the program, absolute
	dir     string         // for everything that is not an archive benchmark's
	pattern *regexp.Regexp // which benchmarks to run
	rounds  int            // of what is measured several times
	strict  bool
	keep    bool
}

// benchmark is one measurement or a few that need the same preparation.
type benchmark struct {
	name string
	run  func(ctx context.Context, s *settings, out *report) error
}

func benchmarks() []benchmark {
	all := []benchmark{
		{"shell-job", shellJob},
		{"shell-throughput", shellThroughput},
		{"pickup", pickup},
		{"log-short", logShort},
		{"log-long", logLong},
		{"rss-idle", rssIdle},
		{"rss-100-jobs", rssJobs},
		{"archive-small", archiveSmall},
		{"archive-mixed", archiveMixed},
		{"agent-start", agentStart},
		{"nix-gateway", nixGateway},
	}
	for _, c := range []struct {
		engine string
		limit  float64 // of a job, in floors
	}{{"docker", 0.6}, {"podman", 0.5}, {"rootless", 0.5}} {
		all = append(all, containers(c.engine, c.limit)...)
	}
	return all
}

// bench returns the exit code: 0, 1 when something could not be run (or, with -strict, a goal was
// missed), 2 for wrong flags.
func bench(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	s, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintf(stderr, "bench: %v\n", err)
		return 2
	}
	if s.dir, err = os.MkdirTemp(s.dir, "skerry-bench"); err != nil {
		fmt.Fprintf(stderr, "bench: %v\n", err)
		return 1
	}
	if s.keep {
		fmt.Fprintf(stderr, "everything is kept in %s\n", s.dir)
	} else {
		defer os.RemoveAll(s.dir)
	}
	out := &report{w: stdout}
	out.header(machine())
	code := 0
	for _, b := range benchmarks() {
		if !s.pattern.MatchString(b.name) || ctx.Err() != nil {
			continue
		}
		if err := b.run(ctx, s, out); err != nil {
			fmt.Fprintf(stderr, "bench: %s: %v\n", b.name, err)
			code = 1
		}
	}
	if ctx.Err() != nil || s.strict && out.missed > 0 {
		code = 1
	}
	return code
}

func parse(args []string, stderr io.Writer) (*settings, error) {
	s := &settings{}
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.SetOutput(stderr)
	run := fs.String("run", "", "run only the benchmarks whose name this regular expression matches")
	fs.IntVar(&s.rounds, "n", 20, "how often to measure what is measured several times")
	fs.StringVar(&s.skerry, "skerry", "bin/skerry", "the program to measure")
	fs.StringVar(&s.dir, "dir", os.TempDir(), "where to work; archives are measured in /dev/shm where it is there")
	fs.BoolVar(&s.strict, "strict", false, "exit with 1 when a goal is missed")
	fs.BoolVar(&s.keep, "keep", false, "leave what the runners made, for a look at it")
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	if fs.NArg() > 0 {
		return nil, fmt.Errorf("unknown argument %q; choose benchmarks with -run", fs.Arg(0))
	}
	if s.rounds < 1 {
		return nil, fmt.Errorf("-n %d: measure at least once", s.rounds)
	}
	var err error
	if s.pattern, err = regexp.Compile(*run); err != nil {
		return nil, fmt.Errorf("-run: %w", err)
	}
	if s.skerry, err = filepath.Abs(s.skerry); err != nil {
		return nil, err
	}
	if _, err := os.Stat(s.skerry); err != nil {
		return nil, fmt.Errorf("no program to measure: %w; `make build` makes it", err)
	}
	return s, nil
}

// machine describes where the figures come from, with its load, which spoils them.
func machine() string {
	words := []string{runtime.GOOS + "/" + runtime.GOARCH, fmt.Sprintf("%d processors", runtime.NumCPU())}
	if model := field("/proc/cpuinfo", "model name"); model != "" {
		words = append(words, model)
	}
	if total := field("/proc/meminfo", "MemTotal"); total != "" {
		words = append(words, total+" memory")
	}
	if b, err := os.ReadFile("/proc/loadavg"); err == nil {
		if f := strings.Fields(string(b)); len(f) > 0 {
			words = append(words, "load "+f[0])
		}
	}
	return strings.Join(append(words, runtime.Version()), ", ")
}

// field is the value of a "key: value" line in one of the kernel's files; empty when there is none.
func field(path, key string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == key {
			return strings.TrimSpace(v)
		}
	}
	return ""
}
