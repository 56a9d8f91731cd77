package volumes

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Node is a valid path of the store.
type Node struct {
	Size    int64    // of its archive
	Hash    string   // of its archive
	Deriver string   // a store path, or empty
	Refs    []string // basenames, itself perhaps among them
}

// Graph is all valid paths by basename.
type Graph map[string]Node

// ReadGraph asks Nix for the whole database, in one program's run.
func ReadGraph(ctx context.Context, nix Program) (Graph, error) {
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := nix.Stream(ctx, nil, w, "nix-store", "--dump-db")
		_ = w.CloseWithError(err) // never fails
		done <- err
	}()
	g, err := ParseDump(r)
	_ = r.CloseWithError(errors.New("read no further"))
	if ran := <-done; ran != nil && err == nil {
		err = ran
	}
	if err != nil {
		return nil, fmt.Errorf("read the store's database: %w", err)
	}
	return g, nil
}

// maxRefs is how many references a path may have; the largest profiles have some thousands.
const maxRefs = 1 << 20

// ParseDump reads what nix-store --dump-db writes: for each path its name, hash, size, deriver, the number of its
// references and they themselves, a line each.
func ParseDump(r io.Reader) (Graph, error) {
	g := Graph{}
	s := bufio.NewScanner(r)
	line := func() string {
		if !s.Scan() {
			return ""
		}
		return s.Text()
	}
	for s.Scan() {
		name := Basename(s.Text())
		if name == "" {
			return nil, fmt.Errorf("%q is no store path", s.Text())
		}
		n := Node{Hash: line()}
		size, err := strconv.ParseInt(line(), 10, 64)
		if err != nil || size < 0 {
			return nil, fmt.Errorf("size of %s: %w", name, cause(s.Err(), err, io.ErrUnexpectedEOF))
		}
		n.Size = size
		n.Deriver = line()
		count, err := strconv.Atoi(line())
		if err != nil || count < 0 || count > maxRefs {
			return nil, fmt.Errorf("number of references of %s: %w", name, cause(s.Err(), err, errors.New("it cannot be")))
		}
		for range count {
			text := line()
			ref := Basename(text)
			if ref == "" {
				return nil, fmt.Errorf("reference of %s: %q: %w", name, text, cause(s.Err(), io.ErrUnexpectedEOF))
			}
			n.Refs = append(n.Refs, ref)
		}
		g[name] = n
	}
	return g, s.Err()
}

// cause is the first of errs that is one.
func cause(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// Registration is a path in the form that nix-store --load-db reads.
func (n Node) Registration(name string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s/%s\n%s\n%d\n%s\n%d\n", StoreDir, name, n.Hash, n.Size, n.Deriver, len(n.Refs))
	for _, r := range n.Refs {
		b.WriteString(StoreDir + "/" + r + "\n")
	}
	return b.String()
}

// Close adds to set all that its members refer to, directly or not. Names that are not valid stay in it.
func (g Graph) Close(set map[string]bool) {
	var todo []string
	for name := range set {
		todo = append(todo, name)
	}
	for len(todo) > 0 {
		name := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, r := range g[name].Refs {
			if !set[r] {
				set[r] = true
				todo = append(todo, r)
			}
		}
	}
}

// Tops are the paths to which no other refers: roots that hold all.
func (g Graph) Tops() []string {
	below := map[string]bool{}
	for name, n := range g {
		for _, r := range n.Refs {
			below[r] = below[r] || r != name
		}
	}
	var tops []string
	for name := range g {
		if !below[name] {
			tops = append(tops, name)
		}
	}
	return tops
}
