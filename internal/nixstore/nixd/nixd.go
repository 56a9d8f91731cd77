// Package nixd is what the agent's program does in the container of a Nix daemon: it is the container's first process
// (CommandDaemon), and answers questions about the store and collects garbage in it by exec. It fills a trust domain's
// volumes itself, but for an image whose Nix is in a store of its own, which the volumes hide: that takes another
// container, before (CommandSeed). Nothing here knows of runners, engines or jobs beyond the names of directories.
//
// # Volumes
//
// A domain has three: the store at /nix/store, Nix's state at /nix/var/nix and, nested in it, the gate at
// /nix/var/nix/gcroots/skerry. In the gate are
//
//	daemon/socket          where nix-daemon listens
//	daemon/lock            held by the daemon's container, or by the one that seeds: never both
//	jobs/JOB/BASENAME      roots of running jobs, made by their gateways
//	pins/NAME/BASENAME     explicit roots; NAME of the daemon's own paths is nix-IMAGE
//	push/queue/BASENAME    what is to be pushed to a binary cache
//	recent/HOUR/BASENAME   what jobs have used, and when it was last
//
// All but the socket and the lock are links to store paths, which Nix's collector honours because they lie below gcroots.
//
// # Output
//
// A command that succeeds prints one value of JSON, whose type is named beside the command; one that fails prints why on
// standard error and ends with 1. CommandArchives has another output, which begins after the line Ready on standard
// error.
package nixd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"gitlab.com/skerry/skerry/internal/nixstore/nixd/collect"
	"gitlab.com/skerry/skerry/internal/nixstore/nixd/seed"
	"gitlab.com/skerry/skerry/internal/nixstore/nixd/volumes"
)

// Command is the first argument of the agent's program for all that is here.
const Command = "nix"

// The arguments that follow Command.
const (
	CommandDaemon   = "daemon"   // first process of the daemon's container; settings in Variable
	CommandSeed     = "seed"     // fill the volumes; needed only after ExitUnseeded; settings in Variable; prints Seeded
	CommandSeeded   = "seeded"   // prints Seeded once that is done in the daemon's container, by it or before; --wait=DURATION waits for it
	CommandInfo     = "info"     // prints Info; --wait=DURATION waits for the daemon to serve
	CommandStat     = "stat"     // prints Stat
	CommandList     = "ls"       // prints []Path; --roots adds what holds each
	CommandPin      = "pin"      // NAME PATH...: adds roots; prints the paths pinned by that name, []string
	CommandUnpin    = "unpin"    // NAME: takes them away; prints what they were, []string
	CommandRelease  = "release"  // JOB...: the roots of jobs that have ended become recent ones; prints their number
	CommandCollect  = "gc"       // [Collect as JSON]: collects garbage; prints Collected
	CommandQueue    = "queue"    // Over as JSON: has what jobs built pushed, and releases them; prints Pending
	CommandPushed   = "pushed"   // PATH...: takes them out of the queue; prints their number
	CommandArchives = "archives" // writes the archives of the paths that its input names; see collect.Archives
	CommandVerify   = "verify"   // compares every path with its hash, repairs nothing; prints Verified
)

// Ready is the line with which CommandArchives begins.
const Ready = "ready"

// ExitUnseeded is the exit code of CommandDaemon when the image's Nix cannot be found or run, which is so when it is in the
// image's own /nix/store and the volumes have not been seeded from it. All else is 1.
const ExitUnseeded = 3

// Code is the exit code for an error of Main.
func Code(err error) int {
	if errors.Is(err, seed.ErrHidden) || errors.Is(err, volumes.ErrNoNix) {
		return ExitUnseeded
	}
	return 1
}

// Not for others: what the daemon starts of its own program.
const (
	commandServe = "serve" // becomes nix-daemon with the listening socket
	commandProbe = "probe" // the builder of the trial build
)

// Variable is the environment variable that holds Config as JSON.
const Variable = "SKERRY_NIXD"

// Where the volumes are mounted in the daemon's container; the gate last, as it lies in the state.
const (
	StoreDir = volumes.StoreDir
	StateDir = volumes.StateDir
	GateDir  = StateDir + "/gcroots/skerry"
)

// Where they are mounted in a container that seeds.
const (
	SeedStoreDir = volumes.SeedDir + "/store"
	SeedStateDir = volumes.SeedDir + "/var"
	SeedGateDir  = SeedStateDir + "/gcroots/skerry"
)

// Socket is where nix-daemon listens, in the daemon's container. It is there once jobs may be served.
const Socket = GateDir + "/daemon/socket"

type (
	// Seeded is the answer of CommandSeed.
	Seeded = volumes.Seeded
	// Stat is the answer of CommandStat.
	Stat = collect.Stat
	// Share is a part of a store.
	Share = collect.Share
	// Path is one in the answer of CommandList.
	Path = collect.Path
	// Collect is what CommandCollect is told.
	Collect = collect.Order
	// Collected is the answer of CommandCollect.
	Collected = collect.Result
	// Over is what CommandQueue is told.
	Over = collect.Over
	// Pending is the answer of CommandQueue.
	Pending = collect.Pending
)

// Main runs a command; ok is false when args name none of them. An error whose text is empty has been told already.
func Main(args []string, out io.Writer) (ok bool, err error) {
	if len(args) < 2 || args[0] != Command {
		return false, nil
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	l := volumes.Layout{}
	switch rest := args[2:]; args[1] {
	case CommandDaemon:
		stop() // it has its own way with signals
		return true, withConfig(func(c Config) error { return daemon(c, l) })
	case commandServe:
		return true, serve(rest)
	case commandProbe:
		return true, report(l, os.Getenv("out"))
	case CommandSeed:
		return true, withConfig(func(c Config) error { return print(out)(seed.Run(ctx, c.Image, l)) })
	default:
		return ask(ctx, l, args[1], rest, out)
	}
}

// ask answers what is asked of a running daemon's container.
func ask(ctx context.Context, l volumes.Layout, command string, args []string, out io.Writer) (ok bool, err error) {
	switch command {
	case CommandSeeded:
		return true, withConfig(func(c Config) error { return print(out)(seededOf(ctx, c.Image, l, args)) })
	case CommandInfo:
		return true, print(out)(infoOf(ctx, l, args))
	case CommandStat:
		return true, print(out)(collect.Statistics(ctx, l))
	case CommandList:
		return true, print(out)(collect.List(ctx, l, slices.Contains(args, "--roots")))
	case CommandPin:
		if len(args) < 2 {
			return true, errors.New("pin: give a name and at least one store path")
		}
		return true, print(out)(collect.Pin(ctx, l, args[0], args[1:]))
	case CommandUnpin:
		if len(args) != 1 {
			return true, errors.New("unpin: give one name")
		}
		return true, print(out)(collect.Unpin(l, args[0]))
	case CommandRelease:
		return true, print(out)(collect.Release(l, args))
	case CommandCollect:
		c, err := parseCollect(args)
		if err != nil {
			return true, err
		}
		return true, print(out)(collect.Run(ctx, l, c))
	case CommandVerify:
		return true, print(out)(verify(ctx, l))
	default:
		return push(ctx, l, command, args, out)
	}
}

// push answers what is asked for the sake of binary caches.
func push(ctx context.Context, l volumes.Layout, command string, args []string, out io.Writer) (ok bool, err error) {
	switch command {
	case CommandQueue:
		var over Over
		if len(args) != 1 {
			return true, errors.New("queue: give one argument, which jobs have ended")
		}
		if err := json.Unmarshal([]byte(args[0]), &over); err != nil {
			return true, fmt.Errorf("queue: read which jobs have ended: %w", err)
		}
		return true, print(out)(collect.Queue(ctx, l, over))
	case CommandPushed:
		return true, print(out)(collect.Pushed(l, args))
	case CommandArchives:
		fmt.Fprintln(os.Stderr, Ready)
		return true, collect.Archives(ctx, l, os.Stdin, out)
	default:
		return false, nil
	}
}

// print returns a function that prints a command's answer, or passes on its error.
func print(out io.Writer) func(answer any, err error) error {
	return func(answer any, err error) error {
		if err != nil {
			return err
		}
		return json.NewEncoder(out).Encode(answer)
	}
}

func withConfig(run func(Config) error) error {
	c, err := parseConfig(os.Getenv(Variable))
	if err != nil {
		return err
	}
	return run(c)
}

// parseCollect reads the argument of CommandCollect.
func parseCollect(args []string) (Collect, error) {
	var c Collect
	if len(args) == 0 {
		return c, nil
	}
	d := json.NewDecoder(strings.NewReader(args[0]))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return c, fmt.Errorf("gc: read what to collect: %w", err)
	}
	if len(args) > 1 || c.KeepFor < 0 || c.MinFree < 0 || c.MaxFreed < 0 {
		return c, errors.New("gc: one argument, in which nothing is negative")
	}
	return c, nil
}
