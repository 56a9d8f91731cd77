// Package files does the stages that move files between the project directory and archives: caches are
// restored from the local tier and saved there, artifacts are packed and extracted. It chooses files, and
// says what it does, as GitLab Runner does.
package files

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/bmatcuk/doublestar/v4"
	"golang.org/x/sys/unix"

	"gitlab.com/skerry/skerry/internal/stage"
	"gitlab.com/skerry/skerry/internal/stage/task"
)

// selection finds the files that a Files means, with GitLab Runner's messages.
// Source: gitlab-runner commands/helpers/file_archiver.go.
//
// Every path is looked up beneath the project directory: what is reached through a link that leads out
// of it does not match.
type selection struct {
	root  *os.Root
	dir   string // of root, for messages and absolute patterns
	files stage.Files
	log   helperLog

	exclude  []string // patterns relative to root
	found    map[string]bool
	latest   time.Time // modification time of the newest file
	walked   map[string]tally
	excluded []int // by exclude pattern
}

// tally is what a walk through a directory came to. GitLab Runner counts a file once for each match
// whose walk meets it; so do we, without walking again.
type tally struct {
	found    int
	excluded []int
}

// choose returns the selected names, sorted, and the time of the newest.
func choose(ctx context.Context, tk *task.Task, root *os.Root, f stage.Files) ([]string, time.Time, error) {
	s := &selection{
		root: root, dir: filepath.Clean(tk.Spec.Dir), files: f,
		log:   helperLog{tk.Place.Stderr},
		found: make(map[string]bool), walked: make(map[string]tally), excluded: make([]int, len(f.Exclude)),
	}
	s.prepareExclude()
	for _, p := range f.Paths {
		if err := context.Cause(ctx); err != nil {
			return nil, time.Time{}, err
		}
		s.path(p)
	}
	if f.Untracked {
		s.untracked(ctx, tk)
	}
	for i, n := range s.excluded {
		if n > 0 {
			s.log.info("%s: excluded %d files", f.Exclude[i], n)
		}
	}
	list := make([]string, 0, len(s.found))
	for name := range s.found {
		list = append(list, name)
	}
	slices.Sort(list)
	return list, s.latest, context.Cause(ctx)
}

// path adds what one pattern matches, directories with all that is in them.
func (s *selection) path(pattern string) {
	if pattern == "" {
		s.log.warn("No matching files. Path is empty.")
		return
	}
	rel, err := s.relative(pattern)
	if err != nil {
		s.log.warn("processPath: %v", err)
		return
	}
	matches, err := doublestar.Glob(rootFS{s.root}, rel, doublestar.WithNoFollow())
	if err != nil {
		s.log.warn("%s: %v", pattern, err)
		return
	}
	sum := 0
	for _, m := range matches {
		sum += s.walk(m)
	}
	if sum == 0 {
		s.log.warn("%s: no matching files. Ensure that the artifact path is relative to the working directory (%s)",
			pattern, s.dir)
		return
	}
	s.log.info("%s: found %d matching artifact files and directories", pattern, sum)
}

// relative makes a pattern relative to the project directory; absolute ones must be within it.
func (s *selection) relative(pattern string) (string, error) {
	if filepath.Clean(pattern) == s.dir {
		return ".", nil
	}
	base, rest := pattern, ""
	if strings.ContainsAny(pattern, "*?[{") {
		base, rest = doublestar.SplitPattern(pattern)
	}
	if !filepath.IsAbs(base) {
		base = filepath.Join(s.dir, base)
	}
	rel, err := filepath.Rel(s.dir, filepath.Clean(base))
	if err != nil {
		return "", fmt.Errorf("could not resolve artifact relative path %s: %w", pattern, err)
	}
	if rel == ".." || strings.HasPrefix(rel, "../") {
		return "", fmt.Errorf("artifact path is not a subpath of project directory: %s", pattern)
	}
	return path.Join(rel, rest), nil
}

func (s *selection) prepareExclude() {
	for _, p := range s.files.Exclude {
		rel, err := s.relative(p)
		if err != nil {
			s.log.warn("isExcluded: %v", err)
			rel = ""
		}
		s.exclude = append(s.exclude, rel)
	}
}

// rule returns the first pattern that excludes name, or -1.
func (s *selection) rule(name string) int {
	for i, pattern := range s.exclude {
		if pattern == "" {
			continue
		}
		if ok, err := doublestar.Match(pattern, name); err == nil && ok {
			return i
		}
	}
	return -1
}

// take adds one file and counts it.
func (s *selection) take(name string, st *unix.Stat_t, t *tally) {
	if i := s.rule(name); i >= 0 {
		if t.excluded == nil {
			t.excluded = make([]int, len(s.exclude))
		}
		t.excluded[i]++
		return
	}
	t.found++
	s.found[name] = true
	if mtime := time.Unix(st.Mtim.Unix()); mtime.After(s.latest) {
		s.latest = mtime
	}
}

// add adds up.
func (t *tally) add(more tally) {
	t.found += more.found
	for i, n := range more.excluded {
		if t.excluded == nil {
			t.excluded = make([]int, len(more.excluded))
		}
		t.excluded[i] += n
	}
}

// walk adds name and everything below it and returns how many were added.
func (s *selection) walk(name string) int {
	var t tally
	f, err := s.root.Open(path.Dir(name))
	if err == nil {
		s.visit(int(f.Fd()), path.Base(name), name, &t)
		_ = f.Close()
	}
	for i, n := range t.excluded {
		s.excluded[i] += n
	}
	return t.found
}

// visit takes base in the directory dir, known as name, and what is below it. A file that is gone is
// passed over in silence, as GitLab Runner does.
func (s *selection) visit(dir int, base, name string, t *tally) {
	var st unix.Stat_t
	if err := unix.Fstatat(dir, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		if !errors.Is(err, unix.ENOENT) {
			s.log.warn("%s: %v", name, err)
		}
		return
	}
	s.take(name, &st, t)
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return
	}
	if known, ok := s.walked[name]; ok {
		t.add(known)
		return
	}
	var below tally
	s.list(dir, base, name, &below)
	s.walked[name] = below
	t.add(below)
}

func (s *selection) list(dir int, base, name string, t *tally) {
	fd, err := unix.Openat(dir, base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		s.log.warn("%s: %v", name, err)
		return
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		s.log.warn("Walking %s: %v", name, err)
	}
	slices.Sort(names)
	for _, n := range names {
		s.visit(fd, n, path.Join(name, n), t)
	}
}

// untracked adds what git does not track, ignored files too.
func (s *selection) untracked(ctx context.Context, tk *task.Task) {
	var out bytes.Buffer
	err := listUntracked(ctx, tk, &out)
	if err != nil {
		s.log.warn("untracked: %v", err)
		return
	}
	var t tally
	for name := range bytes.SplitSeq(bytes.TrimSuffix(out.Bytes(), []byte{0}), []byte{0}) {
		s.one(path.Clean(string(name)), &t)
	}
	for i, n := range t.excluded {
		s.excluded[i] += n
	}
	if t.found == 0 {
		s.log.warn("untracked: no files")
		return
	}
	s.log.info("untracked: found %d files", t.found)
}

// one takes a single file, without what may be below it.
func (s *selection) one(name string, t *tally) {
	if !filepath.IsLocal(name) || name == "." {
		return
	}
	f, err := s.root.Open(path.Dir(name))
	if err != nil {
		return
	}
	defer f.Close()
	var st unix.Stat_t
	if unix.Fstatat(int(f.Fd()), path.Base(name), &st, unix.AT_SYMLINK_NOFOLLOW) == nil {
		s.take(name, &st, t)
	}
}
