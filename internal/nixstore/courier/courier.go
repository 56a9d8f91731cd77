// Package courier carries what jobs have built in a store to its binary cache: from the queue that the store's daemon keeps
// (package nixd) by what writes to caches (package nixpush). When that is done, and when again, is its caller's matter.
package courier

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"time"

	"gitlab.com/skerry/skerry/internal/nixopt"
	"gitlab.com/skerry/skerry/internal/nixstore/nixd"
	"gitlab.com/skerry/skerry/internal/nixstore/nixpush"
)

// Route says where what the jobs of a domain build is pushed to.
type Route struct {
	To  string `json:"to"`  // see nixopt.ParsePush
	Key string `json:"key"` // the file with the secret key to sign with; it is read for each push
}

// Pushed is what a push has come to.
type Pushed struct {
	Paths  int   // that were sent
	Bytes  int64 // of their archives
	Failed bool
	Left   int // paths that jobs have built and that are still to be pushed
}

// Store is a store whose daemon is another process. It is used between Wake and the call of what that has returned.
type Store interface {
	// Wake has the daemon run until done is called.
	Wake(ctx context.Context) (done func(), err error)
	// Queue is what nixd.CommandQueue answers, after what has ended by now.
	Queue(ctx context.Context) (nixd.Pending, error)
	// Pushed has nixd.CommandPushed take paths out of the queue.
	Pushed(ctx context.Context, paths []string) error
	// Archives runs nixd.CommandArchives; what it returns is its input and its output.
	Archives(ctx context.Context) (io.ReadWriteCloser, error)
}

// Courier is that of one store. It makes one way at a time, and remembers meanwhile what the cache has.
type Courier struct {
	Name string // of the store, for people
	Dir  string // where archives lie until they are sent; empty: the usual place
	Log  *slog.Logger

	pusher *nixpush.Pusher // nil: logins are read anew
	route  Route           // that it is made of
}

// Push pushes until nothing is left. left is what is left as far as is known; no daemon is woken for a cache that cannot be
// reached. After an error what has not been pushed is still in the queue.
func (c *Courier) Push(ctx context.Context, r Route, s Store, left int) (Pushed, error) {
	sum := Pushed{Left: left}
	err := c.push(ctx, r, s, &sum)
	if err != nil {
		c.pusher, sum.Failed = nil, true
	}
	return sum, err
}

func (c *Courier) push(ctx context.Context, r Route, s Store, sum *Pushed) error {
	if err := c.prepare(r); err != nil {
		return err
	}
	if err := c.pusher.Reach(ctx); err != nil {
		return err
	}
	done, err := s.Wake(ctx)
	if err != nil {
		return err
	}
	defer done()
	from := &archives{store: s}
	defer from.Close()
	for {
		pending, err := c.queue(ctx, s)
		if err != nil {
			return err
		}
		if sum.Left = len(pending.Queue); sum.Left == 0 {
			return nil
		}
		done, err := c.pusher.Push(ctx, from, pathsOf(pending))
		sum.Paths, sum.Bytes = sum.Paths+done.Paths, sum.Bytes+done.Bytes
		for path, why := range pending.Bad {
			done.Bad[path] = errors.New(why)
		}
		over := slices.DeleteFunc(pending.Queue, func(path string) bool { return done.Left[path] != nil })
		if len(over) > 0 && ctx.Err() == nil {
			if told := c.pushed(ctx, s, over); told != nil {
				return errors.Join(err, told)
			}
			c.tellBad(done.Bad)
			sum.Left -= len(over)
		}
		if err != nil {
			return err
		}
	}
}

// askTime bounds how long a store's daemon, or what is between, may take for an answer: others wait for their turn.
const askTime = 15 * time.Minute

func (c *Courier) queue(ctx context.Context, s Store) (nixd.Pending, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	return s.Queue(ctx)
}

func (c *Courier) pushed(ctx context.Context, s Store, paths []string) error {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	return s.Pushed(ctx, paths)
}

// prepare makes what pushes. The key is read anew: it may have been replaced.
func (c *Courier) prepare(r Route) error {
	key, err := nixpush.ReadKey(r.Key)
	if err != nil {
		return err
	}
	if c.pusher == nil || c.route != r {
		to, err := nixopt.ParsePush(r.To)
		if err != nil {
			return fmt.Errorf("push in [runners.nix] %w", err)
		}
		cache, err := nixpush.Open(to, os.Getenv)
		if err != nil {
			return err
		}
		c.pusher, c.route = &nixpush.Pusher{Cache: cache, Plain: to.Plain, Dir: c.Dir}, r
	}
	c.pusher.Key = key
	return nil
}

// tellBad tells of what will never be pushed.
func (c *Courier) tellBad(bad map[string]error) {
	for _, path := range slices.Sorted(maps.Keys(bad)) {
		c.Log.Error("A path of a Nix store is damaged and is not pushed to its binary cache", "store", c.Name, "path", path, "error", bad[path])
	}
}

func pathsOf(p nixd.Pending) []nixpush.Path {
	all := make([]nixpush.Path, len(p.Paths))
	for i, path := range p.Paths {
		all[i] = nixpush.Path(path)
	}
	return all
}
