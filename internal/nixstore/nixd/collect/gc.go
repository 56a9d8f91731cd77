// Package collect knows what holds the paths of a store, and has the daemon delete what nothing holds.
package collect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"gitlab.com/skerry/skerry/internal/nixstore/nixd/volumes"
)

// Order says what to collect. The zero value collects all that no job, pin or connection holds.
type Order struct {
	// KeepFor is how long what jobs have used, and what has been added, is kept after its last use.
	KeepFor time.Duration `json:"keepFor,omitempty"`
	// MinFree is how many bytes of the store's file system are to be free: while fewer are, the longest unused paths
	// are deleted, too, however young.
	MinFree int64 `json:"minFree,omitempty"`
	// MaxFreed ends the collection once so many bytes have been freed; 0: no limit.
	MaxFreed int64 `json:"maxFreed,omitempty"`
	// Live are the jobs that run, or may. The roots of others become recent ones first, unless they have changed since
	// AsOf, when the list was made. A zero AsOf leaves all as they are.
	Live []string  `json:"live,omitempty"`
	AsOf time.Time `json:"asOf,omitzero"`
	// Push has what those have built pushed before; without it nothing is to be pushed any more.
	Push bool `json:"push,omitempty"`
	// DryRun tells what would be deleted, and changes nothing.
	DryRun bool `json:"dryRun,omitempty"`
}

// Result says what a collection has done.
type Result struct {
	Freed    int64    `json:"freed"`              // bytes, as Nix counts them; in a dry run of archives
	Count    int      `json:"count"`              // of paths deleted, or that would be
	Paths    []string `json:"paths"`              // the first MaxPaths of them
	Kept     int      `json:"kept"`               // that were to be deleted and came to life meanwhile
	Released []string `json:"released,omitempty"` // jobs that no longer run
	Free     int64    `json:"free"`               // bytes of the file system, at the end
	// Stat is what is in the store afterwards, but for what has come meanwhile; not of a dry run.
	Stat *Stat `json:"stat,omitempty"`
}

// MaxPaths is how many paths a Result names.
const MaxPaths = 1000

// asOfSlack is how much later than a change of a directory its time may be.
const asOfSlack = time.Minute

// Run deletes paths by the daemon. Another collection is waited for.
//
// Nix's own collection is not used: in 2.8 to 2.34 a path that a client claims between the moment in which it is found
// dead and its deletion is lost, which can be minutes when many depend on one; and 2.8 deletes the temporary directories of
// additions at work. Asked for single paths that nothing refers to, Nix decides and deletes at once, under a lock that claims
// wait for, and refuses what has come to life. So we work out what is dead, and ask for it layer by layer.
// Source: Nix, src/libstore/gc.cc, LocalStore::collectGarbage, and its issue 11923.
func Run(ctx context.Context, l volumes.Layout, c Order) (Result, error) {
	done := Result{Paths: []string{}}
	k, err := volumes.Take(l.Gate()+"/daemon/gc.lock", time.Hour)
	if err != nil {
		return done, fmt.Errorf("gc: %w", err)
	}
	defer k.Release()
	if !c.DryRun {
		if done.Released, err = letGo(ctx, l, c); err != nil && !errors.Is(err, unix.ENOSPC) { // without it more is held
			return done, err
		}
		forgetLogs(l, c.KeepFor)
	}
	full := err
	nix, err := volumes.FindNix(l, "")
	if err != nil {
		return done, err
	}
	g, err := volumes.ReadGraph(ctx, nix)
	if err != nil {
		return done, err
	}
	h, err := findHolders(l)
	if err != nil {
		return done, err
	}
	plan := planCollection(g, h, addedAt(l, g), time.Now().Add(-c.KeepFor), c.KeepFor > 0)
	s := sweeper{l: l, c: c, g: g, plan: plan, done: &done}
	err = s.run(ctx)
	if f, statErr := freeBytes(l); statErr == nil {
		done.Free = f
	}
	if !c.DryRun {
		tidyRecent(l, h, s.gone)
	}
	slices.Sort(done.Paths)
	if err == nil && full != nil { // there may be room now, for the next one
		var more []string
		more, err = letGo(ctx, l, c)
		done.Released = append(done.Released, more...)
	}
	if !c.DryRun {
		done.Stat = s.left()
	}
	return done, err
}

// left counts what a collection has left.
func (s *sweeper) left() *Stat {
	h, err := findHolders(s.l)
	if err != nil {
		return nil // it can be asked for
	}
	for base := range s.gone {
		delete(s.g, base)
	}
	st := statistics(s.g, h)
	return &st
}

// letGo releases what jobs have held that have ended, and what is not to be pushed any more.
func letGo(ctx context.Context, l volumes.Layout, c Order) (released []string, err error) {
	if released, err = releaseDead(ctx, l, c); err != nil {
		return released, fmt.Errorf("gc: release the roots of jobs that have ended: %w", err)
	}
	if err := dropQueue(l, c); err != nil {
		return released, fmt.Errorf("gc: release what is not to be pushed any more: %w", err)
	}
	return released, nil
}

// doomed is a path that nothing holds.
type doomed struct {
	base    string
	size    int64
	expired bool
	used    int64 // the hour of its last use, and of the last use of what refers to it
	level   int   // greater than that of all that refer to it
}

// planCollection lists what nothing holds, in an order in which it may be deleted: what refers to a path comes before
// it, and otherwise what is unused for longest. added says when paths came to the store.
func planCollection(g volumes.Graph, h holders, added map[string]time.Time, cutoff time.Time, keep bool) []doomed {
	held := h.held(g)
	all := map[string]*doomed{}
	above := map[string]int{} // how many refer to it
	for base, n := range g {
		if held[base] {
			continue
		}
		all[base] = &doomed{base: base, size: n.Size, used: hourOf(lastUse(h[base], added[base]))}
		for _, r := range n.Refs {
			if r != base {
				above[r]++
			}
		}
	}
	for base, at := range added { // what lies in the store and is not valid
		if _, valid := g[base]; !valid && !held[base] {
			all[base] = &doomed{base: base, used: hourOf(at)}
		}
	}
	var order []doomed
	var todo []*doomed
	for base, d := range all {
		if above[base] == 0 {
			todo = append(todo, d)
		}
	}
	for len(todo) > 0 {
		d := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		d.expired = !keep || d.used < hourOf(cutoff)
		order = append(order, *d)
		for _, r := range g[d.base].Refs {
			below := all[r]
			if below == nil || r == d.base {
				continue
			}
			below.used, below.level = max(below.used, d.used), max(below.level, d.level+1)
			if above[r]--; above[r] == 0 {
				todo = append(todo, below)
			}
		}
	}
	slices.SortFunc(order, func(a, b doomed) int {
		if a.expired != b.expired { // those first; nothing that has expired is below what has not
			return cmp.Compare(b2i(b.expired), b2i(a.expired))
		}
		byUse := cmp.Compare(a.used, b.used)
		if a.expired {
			byUse = 0
		}
		return cmp.Or(byUse, cmp.Compare(a.level, b.level), cmp.Compare(a.base, b.base))
	})
	return order
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func hourOf(t time.Time) int64 { return t.Unix() / 3600 }

// lastUse is the latest of the hours in which a path was used, and of its coming.
func lastUse(by []string, added time.Time) time.Time {
	last := added
	for _, holder := range by {
		if t, err := time.Parse("recent:"+volumes.HourFormat, holder); err == nil && t.After(last) {
			last = t
		}
	}
	return last
}

// addedAt says when what lies in the store has come there. Nix sets the time of modification to one, but not that of change.
func addedAt(l volumes.Layout, g volumes.Graph) map[string]time.Time {
	added := make(map[string]time.Time, len(g))
	d, err := os.Open(l.Store())
	if err != nil {
		return added
	}
	defer d.Close()
	for {
		names, err := d.Readdirnames(4096)
		for _, name := range names {
			var st unix.Stat_t
			if volumes.IsStoreName(name) && unix.Fstatat(int(d.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil {
				added[name] = time.Unix(st.Ctim.Unix())
			}
		}
		if err != nil {
			return added // at the end; what could not be read is not deleted
		}
	}
}

func freeBytes(l volumes.Layout) (int64, error) {
	var f unix.Statfs_t
	if err := unix.Statfs(l.Store(), &f); err != nil {
		return 0, fmt.Errorf("free space of %s: %w", l.Store(), err)
	}
	return int64(f.Bavail) * f.Bsize, nil //nolint:gosec // no disk is that large
}

// releaseDead releases jobs that do not run any more.
func releaseDead(ctx context.Context, l volumes.Layout, c Order) ([]string, error) {
	if c.AsOf.IsZero() {
		return nil, nil
	}
	jobs, err := os.ReadDir(l.Jobs())
	if err != nil {
		return nil, err
	}
	var released []string
	for _, j := range jobs {
		if slices.Contains(c.Live, j.Name()) {
			continue
		}
		if c.Push { // also of one that may be new: no harm is done
			if err := queue(ctx, l, j.Name()); err != nil {
				return released, err
			}
		}
		i, err := j.Info()
		if err != nil || !i.ModTime().Before(c.AsOf.Add(-asOfSlack)) {
			continue
		}
		if _, err := release(l, j.Name(), i.ModTime()); err != nil {
			return released, err
		}
		released = append(released, j.Name())
	}
	return released, nil
}

// forgetLogs deletes the logs of builds that are older than what is kept.
func forgetLogs(l volumes.Layout, keep time.Duration) {
	if keep <= 0 {
		return
	}
	_ = filepath.WalkDir(l.State()+"/log/drvs", func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return nil //nolint:nilerr // there are none
		}
		if i, err := e.Info(); err == nil && time.Since(i.ModTime()) > keep {
			_ = os.Remove(p) // the next collection tries again
		}
		return nil
	})
}

// tidyRecent removes the memory of paths that are gone, older memories of the same path, and empty hours.
func tidyRecent(l volumes.Layout, h holders, gone map[string]bool) {
	for base, by := range h {
		hours := slices.DeleteFunc(slices.Clone(by), func(holder string) bool { return !isRecent(holder) })
		slices.Sort(hours)
		if len(hours) > 0 && !gone[base] {
			if _, err := os.Lstat(l.Store() + "/" + base); !errors.Is(err, fs.ErrNotExist) {
				hours = hours[:len(hours)-1]
			}
		}
		for _, hour := range hours {
			forget(l, hour, base)
		}
	}
	hours, err := os.ReadDir(l.Recent())
	if err != nil {
		return
	}
	for _, hour := range hours {
		_ = os.Remove(filepath.Join(l.Recent(), hour.Name())) // refused unless it is empty
	}
}

func forget(l volumes.Layout, holder, base string) {
	_ = os.Remove(filepath.Join(l.Recent(), holder[len("recent:"):], base)) // it is only a memory
}
