package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	"gitlab.com/skerry/skerry/internal/agent/nested"
	"gitlab.com/skerry/skerry/internal/agent/netslot"
	"gitlab.com/skerry/skerry/internal/nixstore/nixd"
	"gitlab.com/skerry/skerry/internal/nixstore/nixjob"
	"gitlab.com/skerry/skerry/internal/stage"
)

// usage is all that a person who starts the agent by hand has to know.
const usage = `skerry-agent is started by skerry in a job's environment; it needs no argument.

  skerry-agent            serve in the directory of this executable, or in ../state when that is named bin
  skerry-agent attach     connect standard input and output to the agent of this directory
  skerry-agent attach wait
                          the same, but wait for the agent, and say "ready" on standard error when it is there
  skerry-agent probe      say the nonce in this directory on a socket there, once
  skerry-agent pause      wait: holds the network namespace of a job (also: look, up)
  skerry-agent nix ...    serve a Nix store, or look after one that is served in this container
  skerry-agent nested [--disk BOUND --store DIRECTORY] SOCKET PROGRAM...
                          run a container engine that serves SOCKET and may keep BOUND (bytes, or a share: 50%)
  skerry-agent sweep      empty the directories in ../state
  skerry-agent nested-await SOCKET
                          wait until the engine at SOCKET answers
  skerry-agent --version
`

// CommandSweep is the argument for emptying the directories in the state directory, which are mounted there for
// that: an executor that may not remove what a place's users left has root in a container do it.
const CommandSweep = "sweep"

// Serving is the line of an agent that begins to serve and was told to say so.
const Serving = "skerry-agent: serving; the job's output is in its log in GitLab\n"

// Main is the program: args are those after the program's name. It returns the exit code.
func Main(args []string, run RunFunc, terminal stage.TerminalFunc) int {
	var err error
	switch {
	case len(args) == 0:
		err = serve(run, terminal)
	case len(args) == 1 && args[0] == "attach":
		err = attach(os.Stdin, os.Stdout)
	case slices.Equal(args, []string{"attach", "wait"}):
		err = attachWait(os.Stdin, os.Stdout, os.Stderr)
	case len(args) == 1 && args[0] == "probe":
		err = probe(os.Stdout)
	case len(args) == 1 && (args[0] == "--version" || args[0] == "version"):
		fmt.Fprintln(os.Stdout, Version())
	case len(args) == 1 && args[0] == CommandSweep:
		err = sweep()
	default:
		known, failed := netslot.Main(args, os.Stdout)
		if !known {
			known, failed = nixd.Main(args, os.Stdout)
		}
		if !known {
			known, failed = nested.Main(args)
		}
		if !known {
			fmt.Fprint(os.Stderr, usage)
			return 2
		}
		err = failed
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "skerry-agent:", err)
		return nixd.Code(err)
	}
	return 0
}

// Version is that of this build: the module's or, in a work tree, the commit.
func Version() string {
	b, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := b.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range b.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return "devel"
}

// dir is the agent's state directory: where the executable lies or, when that is mounted read-only as
// ".../bin", the directory "state" beside it. A symbolic link has been followed by the kernel: link hard.
func dir() (string, error) {
	exe, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find the agent's own executable: %w", err)
	}
	d := filepath.Dir(exe)
	if filepath.Base(d) != "bin" {
		return d, nil
	}
	state := filepath.Join(filepath.Dir(d), "state")
	if i, err := os.Stat(state); err != nil || !i.IsDir() {
		return d, nil //nolint:nilerr // there is none beside it
	}
	return state, nil
}

// readyForNix makes the place's files and this process's environment, which its stages have, ready for Nix.
func readyForNix(c nixjob.Config, log *slog.Logger) {
	if err := c.Prepare("/"); err != nil {
		log.Warn("The place could not be made ready for Nix", "error", err)
	}
	more, err := c.Home("/", os.Environ(), os.Geteuid())
	if err != nil {
		log.Warn("The place has no home directory for Nix", "error", err)
	}
	setEnv(more, log)
	setEnv(c.Environ("/", os.Environ()), log)
}

// setEnv gives this process, and so its stages, variables.
func setEnv(vars []string, log *slog.Logger) {
	for _, e := range vars {
		key, value, _ := strings.Cut(e, "=")
		if err := os.Setenv(key, value); err != nil {
			log.Warn("A variable could not be set in the place", "variable", key, "error", err)
		}
	}
}

func serve(run RunFunc, terminal stage.TerminalFunc) error {
	d, err := dir()
	if err != nil {
		return err
	}
	config, err := readConfig(d)
	if err != nil {
		return err
	}
	if config.Umask != nil {
		syscall.Umask(*config.Umask)
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	if config.Announce {
		for _, to := range []io.Writer{os.Stdout, os.Stderr} {
			_, _ = io.WriteString(to, Serving) // nobody need read it
		}
	}
	for _, dir := range config.Open {
		if err := openToAll(dir); err != nil {
			log.Warn("A volume could not be opened to the job's user", "error", err)
		}
	}
	setEnv(config.Env, log)
	if config.NixJob != nil {
		readyForNix(*config.NixJob, log)
	}
	// A pipe that nobody reads any more, and a terminal that is gone, must not end the agent.
	deaf := make(chan os.Signal, 1)
	signal.Notify(deaf, syscall.SIGPIPE, syscall.SIGHUP)
	defer signal.Stop(deaf)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	return Run(ctx, Options{Dir: d, Version: Version(), Run: run, Terminal: terminal, Log: log})
}

func sweep() error {
	d, err := dir()
	if err != nil {
		return err
	}
	if filepath.Base(d) != "state" {
		return fmt.Errorf("sweep: %s is no state directory", d) // the program was started by hand
	}
	places, err := os.ReadDir(d)
	if err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	var errs []error
	for _, place := range places {
		path := filepath.Join(d, place.Name())
		entries, err := os.ReadDir(path)
		errs = append(errs, err)
		for _, e := range entries {
			errs = append(errs, os.RemoveAll(filepath.Join(path, e.Name())))
		}
	}
	return errors.Join(errs...)
}

// Dial connects to the agent whose socket is in dir, however long dir's path is. It trusts dir; for a
// directory that a job can write see the executors.
func Dial(dir string) (*net.UnixConn, error) {
	d, err := openDir(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: shortPath(d), Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("connect to the agent in %s: %w", dir, err)
	}
	return conn, nil
}
