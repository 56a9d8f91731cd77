package gateway_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/nixstore/gateway"
	"gitlab.com/skerry/skerry/internal/nixstore/nixtest"
)

// TestNixCollector collects garbage all the time while clients build, add, ask and use: nothing that a client was told of
// is lost, also long after its connection was closed, and what no client was told of is collected.
func TestNixCollector(t *testing.T) {
	t.Parallel()
	nixtest.Each(t, func(t *testing.T, n *nixtest.Nix) {
		n.Daemon(t)
		nixGateway(t, n)
		known := collectAndUse(t, n)
		n.Must(t, nixtest.Direct(), "nix-store", "--gc")
		n.Must(t, nixtest.Direct(), "nix-store", "--verify", "--check-contents")
		links, err := os.ReadDir(filepath.Join(n.Gate(), "jobs/job"))
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range links {
			if l.Name() != ".root" && !there(n, "/nix/store/"+l.Name()) {
				t.Errorf("%s was lost in the end", l.Name())
			}
		}
		for i := range 20 {
			left, _ := filepath.Glob(n.Dir + fmt.Sprintf("/nix/store/*-garbage-%d", i))
			if len(left) > 0 && !slices.Contains(known, strings.TrimPrefix(left[0], n.Dir)) {
				t.Errorf("%s is no longer garbage", left[0])
			}
		}
	})
}

// TestNixCollectorAndConnection is TestNixCollector where a connection holds what clients know.
func TestNixCollectorAndConnection(t *testing.T) {
	t.Parallel()
	nixtest.Each(t, func(t *testing.T, n *nixtest.Nix) {
		n.Daemon(t)
		newGateway(t, gateway.Config{Listen: n.Listen(), Upstream: n.Socket()})
		known := collectAndUse(t, n)
		n.Must(t, nixtest.Direct(), "nix-store", "--gc")
		for _, p := range known {
			if !there(n, p) {
				t.Errorf("%s was lost in the end", p)
			}
		}
	})
}

// collectAndUse collects garbage while clients work, and returns what they were told to be there.
func collectAndUse(t *testing.T, n *nixtest.Nix) (all []string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	// While the first collection of a store makes its socket, Nix 2.8 does not tell it of roots, nor say so.
	n.Must(t, nixtest.Direct(), "nix-store", "--gc")
	const enough = 3
	var collections atomic.Int64
	var collector, clients sync.WaitGroup
	var mu sync.Mutex
	collector.Go(func() {
		for ctx.Err() == nil {
			if _, stderr, err := n.Run(ctx, nixtest.Direct(), "nix-store", "--gc"); err == nil {
				collections.Add(1)
			} else if ctx.Err() == nil { // at times the process of a daemon that collects crashes, of 2.8 and of 2.26
				t.Log("a collection:", err, stderr)
			}
		}
	})
	collector.Go(func() { // what is there for the collector
		for i := 0; ctx.Err() == nil; i++ {
			_, _, _ = n.Run(ctx, nixtest.Direct(), "nix-build", "--no-out-link", "-E", derivation(fmt.Sprintf("garbage-%d", i%20), "echo x > $out"))
			n.WriteFile(t, "shared", fmt.Sprint(i%5))
			_, _, _ = n.Run(ctx, nixtest.Direct(), "nix-store", "--add", "/mnt/shared")
		}
	})
	for c := range 3 {
		clients.Go(func() {
			var known []string
			defer func() {
				mu.Lock()
				defer mu.Unlock()
				all = append(all, known...)
			}()
			for round, start := 0, time.Now(); round < 10 || time.Since(start) < 7*time.Second || collections.Load() < enough && time.Since(start) < 5*time.Minute; round++ {
				known = append(known, useStore(t, n, c, round)...)
				for _, p := range known {
					if !there(n, p) {
						t.Errorf("%s was lost in round %d", p, round)
						return
					}
				}
			}
		})
	}
	clients.Wait()
	cancel()
	collector.Wait()
	if collections.Load() < enough {
		t.Error("collections:", collections.Load())
	}
	return all
}

// useStore is what a client does in a round; it returns what it was told to be there. It comes by nothing that was dead: of
// that Nix's own collection loses some before 2.35, whoever holds it, when it is claimed between being found and being
// deleted. Claims of the dead are tried with the collection that stores of the runner have, in package nixd.
func useStore(t *testing.T, n *nixtest.Nix, client, round int) (known []string) {
	t.Helper()
	job := nixtest.Job()
	out, stderr, err := n.Run(t.Context(), job, "nix-build", "--no-out-link", "-E", derivation(fmt.Sprintf("own-%d-%d", client, round), "echo $name > $out"))
	if err != nil {
		t.Error("build:", err, stderr)
		return nil
	}
	known = append(known, out)
	n.WriteFile(t, fmt.Sprintf("shared-%d", client), fmt.Sprint(round%5))
	if out, _, err := n.Run(t.Context(), job, "nix-store", "--add", fmt.Sprintf("/mnt/shared-%d", client)); err == nil {
		known = append(known, out)
	}
	return known
}
