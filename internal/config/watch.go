package config

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// fileState tells one version of a file from another without reading it.
type fileState struct {
	exists bool
	inode  uint64
	size   int64
	mtime  time.Time
	ctime  syscall.Timespec
}

// stamp is the state of everything that a Config was read from.
type stamp struct {
	mode   fs.FileMode
	config fileState
	tokens map[string]fileState
}

func stampOf(info fs.FileInfo) stamp { return stamp{mode: info.Mode(), config: stateOf(info)} }

func stateOf(info fs.FileInfo) fileState {
	s := fileState{exists: true, size: info.Size(), mtime: info.ModTime()}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		s.inode, s.ctime = sys.Ino, sys.Ctim
	}
	return s
}

// with adds the token files of c.
func (s stamp) with(c *Config) stamp {
	s.tokens = map[string]fileState{}
	for _, r := range c.Runners {
		if r.TokenFile != "" {
			s.tokens[c.absolute(r.TokenFile)] = statFile(c.absolute(r.TokenFile))
		}
	}
	return s
}

func statFile(path string) fileState {
	info, err := os.Stat(path)
	if err != nil {
		return fileState{}
	}
	return stateOf(info)
}

// Event is what a Watcher saw: a new Config, or the error for which the old one stays in force.
type Event struct {
	Config *Config
	Err    error
}

// Watcher reads a config.toml again when it or a token file changes.
type Watcher struct {
	Path     string
	Options  Options
	Interval time.Duration   // between two looks at the file; 0 means 3 s, as in GitLab Runner
	Reload   <-chan struct{} // reads at once and reports in any case; for SIGHUP; may be nil
	Changed  func(Event)     // called from Run, one call at a time
}

// Run watches until ctx ends. current is the Config in force, which Load returned; a file that
// changed between that Load and Run is seen. An invalid version is reported once.
func (w Watcher) Run(ctx context.Context, current *Config) {
	interval := w.Interval
	if interval <= 0 {
		interval = 3 * time.Second
	}
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	last := current.stamp
	for {
		forced := false
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-w.Reload:
			forced = true
		}
		if !forced && !w.changed(last) {
			continue
		}
		event, seen := w.read(last)
		last = seen
		w.Changed(event)
	}
}

// changed reports whether the files differ from those that last was taken of.
func (w Watcher) changed(last stamp) bool {
	if statFile(w.Path) != last.config {
		return true
	}
	for path, state := range last.tokens {
		if statFile(path) != state {
			return true
		}
	}
	return false
}

// read loads the file and returns what was seen of it, so that a bad version is not read twice.
func (w Watcher) read(last stamp) (Event, stamp) {
	before := statFile(w.Path)
	c, err := Load(w.Path, w.Options)
	if err == nil {
		return Event{Config: c}, c.stamp
	}
	seen := stamp{config: before, tokens: map[string]fileState{}}
	for path := range last.tokens {
		seen.tokens[path] = statFile(path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		seen.config = fileState{}
	}
	return Event{Err: err}, seen
}
