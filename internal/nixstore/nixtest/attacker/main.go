// Package attacker is the program of a hostile job: it does to a Nix daemon what no Nix does. Tests build it and put it
// into the images of jobs. What it finds out it prints, a word or a line each; it fails only when it cannot try.
package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"time"

	"gitlab.com/skerry/skerry/internal/nixstore/nixwire"
)

// usage lists the commands.
const usage = `attacker:
  search                look for sockets and ports that speak like a Nix daemon, and for what only helpers have
  hold N SOCKET         open N connections, begin to speak on each, and keep them until the other side has ended them all
  garbage N SOCKET      send N messages that are malformed, each on a connection of its own
  force PATH SOCKET     add PATH to the store without a signature, in every way that the protocol has
  forbidden PATH SOCKET ask for all that no job may do, with PATH for a path of the store
  handle DIR            open what is above DIR by the kernel's handles of files
  cache DIR PATH        make an unsigned binary cache with PATH
  export PATH           print PATH as nix-store --export would, without a signature`

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "attacker:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	word := func(i int) string {
		if i < len(args) {
			return args[i]
		}
		return ""
	}
	n, _ := strconv.Atoi(word(1))
	switch word(0) {
	case "search":
		return search()
	case "hold":
		return hold(n, word(2))
	case "garbage":
		return garbage(n, word(2))
	case "force":
		return force(word(1), word(2))
	case "forbidden":
		return forbidden(word(1), word(2))
	case "handle":
		return handle(word(1))
	case "cache":
		return cache(word(1), word(2))
	case "export":
		return export(os.Stdout, word(1))
	}
	return fmt.Errorf("unknown command\n%s", usage)
}

// hold keeps connections open, of which each has been begun in earnest.
func hold(n int, socket string) error {
	var all []net.Conn
	for range n {
		c, err := net.Dial("unix", socket) //nolint:noctx // ended by a signal
		if err != nil {
			return err
		}
		all = append(all, c)
		w := nixwire.NewWriter(c, 64)
		w.Uint64(nixwire.MagicClient)
		w.Uint64(1<<8 | 35)
		w.Uint64(0)
		w.Uint64(0)
		if err := w.Flush(); err != nil {
			return err
		}
	}
	say("held", len(all))
	for _, c := range all {
		_, _ = io.Copy(io.Discard, c) // until it is ended
	}
	return nil
}

// garbage sends beginnings of a conversation with something wrong in each: random bytes, numbers that are huge, an end in
// the middle.
func garbage(n int, socket string) error {
	dice := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same each time
	for i := range n {
		c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: socket, Net: "unix"})
		if err != nil {
			return fmt.Errorf("after %d: %w", i, err)
		}
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		w := nixwire.NewWriter(c, 4096)
		if dice.IntN(4) > 0 {
			w.Uint64(nixwire.MagicClient)
			w.Uint64(1<<8 | uint64(dice.IntN(40)))
			w.Uint64(0)
			w.Uint64(0)
			w.Uint64(uint64(dice.IntN(64)))
		}
		for range dice.IntN(30) {
			if dice.IntN(2) == 0 {
				w.Uint64(1 << dice.IntN(64))
			} else {
				w.Uint64(dice.Uint64())
			}
		}
		_ = w.Flush()      // it may have ended the connection
		_ = c.CloseWrite() // so that nobody waits for more
		var answer [512]byte
		_, _ = c.Read(answer[:]) // whatever it says
		_ = c.Close()
	}
	say("sent", n)
	return nil
}

// say prints a line for who looks at the job's log.
func say(words ...any) { fmt.Fprintln(os.Stdout, words...) }
