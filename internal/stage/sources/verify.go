package sources

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// errTampered says that an object of an earlier job is not what its name says. Git does not look: it
// checks the names of what it receives, not of what it has.
var errTampered = errors.New("an object of it is not what its name says")

func hashSize(format string) int {
	if format == "sha256" {
		return sha256.Size
	}
	return sha1.Size
}

func newHash(format string) hash.Hash {
	if format == "sha256" {
		return sha256.New()
	}
	return sha1.New()
}

// objectID is the name in binary of an object.
func objectID(format, kind string, content []byte) string {
	h := newHash(format)
	_, _ = fmt.Fprintf(h, "%s %d\x00", kind, len(content))
	_, _ = h.Write(content)
	return string(h.Sum(nil))
}

// worktree is a work tree that git has just checked out.
type worktree struct {
	g      *repository
	dir    string
	gitDir string
	index  []indexEntry
}

// verify makes sure that the work tree is the commit's, although objects of an earlier job were used
// to make it: commit, trees and blobs are hashed anew. That a file is equal to its blob is seen in the work
// tree; where filters made it another one the blob itself is read.
func (w *worktree) verify(ctx context.Context, commit string) error {
	tree, err := w.commitTree(ctx, commit)
	if err != nil {
		return err
	}
	format := objectFormat(w.g.s)
	if treeID(w.index, format) != tree {
		if err := w.verifyTrees(ctx, tree); err != nil {
			return err
		}
	}
	return w.verifyObjects(ctx, w.suspects(ctx), func(string, []byte) error { return nil })
}

// commitTree is the tree that the commit names, in binary. Any copy of the commit will do that has its name.
func (w *worktree) commitTree(ctx context.Context, commit string) (string, error) {
	format := objectFormat(w.g.s)
	store := openObjects(filepath.Join(w.gitDir, "objects"), format)
	content, ok := store.commit(commit)
	store.close()
	if !ok {
		var out bytes.Buffer
		if err := w.g.gitTo(ctx, &out, nil, "--git-dir="+w.gitDir, "cat-file", "commit", commit); err != nil {
			return "", err
		}
		content = out.Bytes()
	}
	id, err := hex.DecodeString(commit)
	if err != nil || objectID(format, "commit", content) != string(id) {
		return "", errTampered
	}
	line, _, _ := bytes.Cut(content, []byte("\n"))
	text, _ := bytes.CutPrefix(line, []byte("tree "))
	tree, err := hex.DecodeString(string(text))
	if err != nil || len(tree) != hashSize(format) {
		return "", errTampered
	}
	return string(tree), nil
}

// suspects lists the blobs that are not equal to the files made of them.
func (w *worktree) suspects(ctx context.Context) []string {
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		list []string
	)
	n := min(runtime.GOMAXPROCS(0), 8, 1+len(w.index)/256)
	for part := range slices.Chunk(w.index, max(1, (len(w.index)+n-1)/n)) {
		wg.Go(func() {
			h, buf := newHash(objectFormat(w.g.s)), make([]byte, 64<<10)
			for _, e := range part {
				if e.mode == modeGitlink || w.sameFile(ctx, h, buf, e) {
					continue
				}
				mu.Lock()
				list = append(list, e.id)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	slices.Sort(list)
	return slices.Compact(list)
}

// sameFile reports whether the entry's file is the entry's blob. Once ctx is over it says no.
func (w *worktree) sameFile(ctx context.Context, h hash.Hash, buf []byte, e indexEntry) bool {
	name := filepath.Join(w.dir, e.name)
	h.Reset()
	if e.mode == modeLink {
		target, err := os.Readlink(name)
		return err == nil && objectID(objectFormat(w.g.s), "blob", []byte(target)) == e.id
	}
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil || !st.Mode().IsRegular() {
		return false
	}
	_, _ = fmt.Fprintf(h, "blob %d\x00", st.Size())
	read := readFunc(func(b []byte) (int, error) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		return f.Read(b)
	})
	_, err = io.CopyBuffer(h, read, buf)
	return err == nil && string(h.Sum(nil)) == e.id
}

// readFunc is a Reader without a WriteTo, so that io.CopyBuffer keeps to its buffer.
type readFunc func(b []byte) (int, error)

func (f readFunc) Read(b []byte) (int, error) { return f(b) }

// verifyTrees is the slow way for trees with modes that an index does not have: read each and compare
// what they hold with the index.
func (w *worktree) verifyTrees(ctx context.Context, root string) error {
	files := make(map[string]string, len(w.index))
	for _, e := range w.index {
		files[e.name] = e.id
	}
	level := map[string][]string{root: {""}} // where each tree is
	for len(level) > 0 {
		next := map[string][]string{}
		ids := make([]string, 0, len(level))
		for id := range level {
			ids = append(ids, id)
		}
		err := w.verifyObjects(ctx, ids, func(id string, content []byte) error {
			for len(content) > 0 {
				mode, rest, _ := bytes.Cut(content, []byte(" "))
				name, rest, ok := bytes.Cut(rest, []byte{0})
				if !ok || len(rest) < len(root) {
					return errTampered
				}
				child := string(rest[:len(root)])
				content = rest[len(root):]
				for _, prefix := range level[id] {
					if string(mode) == "40000" {
						next[child] = append(next[child], prefix+string(name)+"/")
					} else if files[prefix+string(name)] == child {
						delete(files, prefix+string(name))
					} else {
						return errTampered
					}
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		level = next
	}
	if len(files) > 0 {
		return errTampered
	}
	return nil
}

// verifyObjects has git read objects, hashes them and hands trees to use.
func (w *worktree) verifyObjects(ctx context.Context, ids []string, use func(id string, content []byte) error) error {
	if len(ids) == 0 {
		return nil
	}
	in, err := w.names(ids)
	if err != nil {
		return err
	}
	defer in.Close()
	r, pipe := io.Pipe()
	result := make(chan error, 1)
	go func() {
		err := readBatch(bufio.NewReader(r), objectFormat(w.g.s), ids, use)
		_, _ = io.Copy(io.Discard, r) // git may have more to say
		result <- err
	}()
	err = w.g.gitFrom(ctx, in, pipe, nil, "--git-dir="+w.gitDir, "cat-file", "--batch")
	_ = pipe.Close()
	if rerr := <-result; rerr != nil {
		return rerr
	}
	return err
}

// names is a file with the names of objects, one a line, ready to be read.
func (w *worktree) names(ids []string) (*os.File, error) {
	f, err := os.CreateTemp(w.g.r.Place.Scratch, "objects-")
	if err != nil {
		return nil, err
	}
	_ = os.Remove(f.Name())
	var b strings.Builder
	for _, id := range ids {
		b.WriteString(hex.EncodeToString([]byte(id)) + "\n")
	}
	_, err = f.WriteString(b.String())
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// maxTree bounds the trees that are held in memory.
const maxTree = 256 << 20

// readBatch reads what git cat-file --batch says of ids.
func readBatch(r *bufio.Reader, format string, ids []string, use func(id string, content []byte) error) error {
	h := newHash(format)
	for _, id := range ids {
		line, err := r.ReadString('\n')
		if err != nil {
			return errTampered
		}
		fields := strings.Fields(line)
		if len(fields) != 3 {
			return errTampered // missing
		}
		size, err := strconv.ParseInt(fields[2], 10, 64)
		if err != nil || size < 0 {
			return errTampered
		}
		h.Reset()
		_, _ = fmt.Fprintf(h, "%s %d\x00", fields[1], size)
		var content bytes.Buffer
		var to io.Writer = h
		if fields[1] == "tree" && size <= maxTree {
			to = io.MultiWriter(h, &content)
		}
		if _, err := io.CopyN(to, r, size); err != nil {
			return errTampered
		}
		if _, err := r.Discard(1); err != nil || string(h.Sum(nil)) != id {
			return errTampered
		}
		if err := use(id, content.Bytes()); err != nil {
			return err
		}
	}
	return nil
}
