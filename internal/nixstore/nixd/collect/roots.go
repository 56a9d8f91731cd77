package collect

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"gitlab.com/skerry/skerry/internal/nixstore/nixd/volumes"
	"gitlab.com/skerry/skerry/internal/nixstore/nixd/worker"
)

// isRootName reports whether a pin or a job may have the name: letters, digits and, not at first, dots, dashes and underscores.
func isRootName(name string) bool {
	for i, c := range []byte(name) {
		switch {
		case '0' <= c && c <= '9', 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z':
		case i > 0 && (c == '.' || c == '-' || c == '_'):
		default:
			return false
		}
	}
	return name != "" && len(name) <= 128
}

// Pin makes roots of paths that are valid, in pins/NAME.
func Pin(ctx context.Context, l volumes.Layout, name string, paths []string) ([]string, error) {
	if err := checkPin(name); err != nil {
		return nil, err
	}
	w, err := worker.Dial(ctx, l.Socket())
	if err != nil {
		return nil, err
	}
	defer w.Close()
	var names []string
	for _, p := range paths {
		b := volumes.Basename(p)
		if b == "" {
			return nil, fmt.Errorf("pin: %q is not in %s", p, volumes.StoreDir)
		}
		// Held by the connection until the link is there.
		valid, err := w.Hold(volumes.StoreDir + "/" + b)
		if err != nil {
			return nil, fmt.Errorf("pin %s: %w", p, err)
		}
		if !valid {
			return nil, fmt.Errorf("pin: %s/%s is not in this store (any more): build or copy it first", volumes.StoreDir, b)
		}
		names = append(names, b)
	}
	dir := filepath.Join(l.Pins(), name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	for _, b := range names {
		if err := volumes.Root(dir, b); err != nil {
			return nil, err
		}
	}
	return volumes.RootsIn(dir)
}

func checkPin(name string) error {
	switch {
	case !isRootName(name):
		return fmt.Errorf("pin: %q is no name: use letters, digits, dots, dashes and underscores", name)
	case strings.HasPrefix(name, volumes.ImagePin):
		return fmt.Errorf("pin: names that begin with %q are those of the daemon's own paths", volumes.ImagePin)
	}
	return nil
}

// Unpin takes a pin away.
func Unpin(l volumes.Layout, name string) ([]string, error) {
	if err := checkPin(name); err != nil {
		return nil, err
	}
	dir := filepath.Join(l.Pins(), name)
	paths, err := volumes.RootsIn(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("unpin: nothing is pinned by the name %q", name)
	}
	if err != nil {
		return nil, err
	}
	return paths, os.RemoveAll(dir)
}

// Release turns the roots of jobs that have ended into recent ones, and returns how many there were.
func Release(l volumes.Layout, jobs []string) (int, error) {
	if len(jobs) == 0 {
		return 0, errors.New("release: give the name of a job")
	}
	n := 0
	for _, job := range jobs {
		m, err := release(l, job, time.Now())
		if n += m; err != nil {
			return n, err
		}
	}
	return n, nil
}

// release turns the roots of a job that has ended into recent ones. A job that has none is no error.
func release(l volumes.Layout, job string, now time.Time) (int, error) {
	if !isRootName(job) {
		return 0, fmt.Errorf("release: %q is no job's name", job)
	}
	return volumes.Retire(l, filepath.Join(l.Jobs(), job), now)
}

// holders says what holds paths directly: by basename, "job:NAME", "pin:NAME", "push:queue", "recent:HOUR", "temporary:PID" or "root:PATH".
type holders map[string][]string

// findHolders reads all roots that files say.
func findHolders(l volumes.Layout) (holders, error) {
	h := holders{}
	for kind, dir := range map[string]string{"job": l.Jobs(), "pin": l.Pins(), "push": l.Pushes(), "recent": l.Recent()} {
		groups, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, g := range groups {
			paths, err := volumes.RootsIn(filepath.Join(dir, g.Name()))
			if err != nil {
				continue // it went meanwhile, or it is none of ours
			}
			for _, p := range paths {
				h.add(filepath.Base(p), kind+":"+g.Name())
			}
		}
	}
	if err := h.temporary(l); err != nil {
		return nil, err
	}
	return h, h.others(l)
}

func (h holders) add(base, holder string) { h[base] = append(h[base], holder) }

// temporary reads the roots of connections: store paths, each ended by a zero byte.
func (h holders) temporary(l volumes.Layout) error {
	files, err := os.ReadDir(l.State() + "/temproots")
	if err != nil {
		return err
	}
	for _, f := range files {
		raw, err := os.ReadFile(filepath.Join(l.State(), "temproots", f.Name()))
		if err != nil {
			continue // its connection ended
		}
		for p := range strings.SplitSeq(string(raw), "\x00") {
			if b := volumes.Basename(p); b != "" {
				h.add(b, "temporary:"+f.Name())
			}
		}
	}
	return nil
}

// others reads links that are not ours: profiles, and what somebody has put into gcroots.
func (h holders) others(l volumes.Layout) error {
	for _, top := range []string{l.State() + "/gcroots", l.State() + "/profiles"} {
		err := filepath.WalkDir(top, func(p string, e fs.DirEntry, err error) error {
			switch {
			case err != nil && p == top && !errors.Is(err, fs.ErrNotExist):
				return err
			case err != nil:
				return nil //nolint:nilerr // it went meanwhile
			case p == l.Gate():
				return fs.SkipDir
			case e.Type()&fs.ModeSymlink == 0:
				return nil
			}
			target, err := os.Readlink(p)
			if err != nil {
				return nil //nolint:nilerr // it went meanwhile
			}
			if volumes.Basename(target) == "" { // an indirect one
				if !filepath.IsAbs(target) {
					target = filepath.Join(filepath.Dir(p), target)
				}
				if target, err = os.Readlink(target); err != nil {
					return nil //nolint:nilerr // it holds nothing
				}
			}
			if b := volumes.Basename(target); b != "" {
				h.add(b, "root:"+p)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// isRecent reports whether a holder is no more than a memory.
func isRecent(holder string) bool { return strings.HasPrefix(holder, "recent:") }

// held are the paths that must stay: roots but recent ones, and all below them.
func (h holders) held(g volumes.Graph) map[string]bool {
	set := map[string]bool{}
	for base, by := range h {
		if slices.ContainsFunc(by, func(holder string) bool { return !isRecent(holder) }) {
			set[base] = true
		}
	}
	g.Close(set)
	return set
}
