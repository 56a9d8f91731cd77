package engine

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	"gitlab.com/skerry/skerry/internal/agent/wire"
)

// nixTime is how long the agent may take to say what the job has had of its Nix store.
const nixTime = 5 * time.Second

// writeNix writes what the job has had of its Nix store into its log, if it has had anything.
func (x *execution) writeNix(ctx context.Context) {
	agent := x.places.nixAgent()
	if agent == nil || x.trace.Has("nix") {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), nixTime)
	defer cancel()
	n, err := agent.Nix(ctx)
	if err != nil {
		x.log.Warn("What the job has had of its Nix store is not known", "error", err)
		return
	}
	n = claimedNix(n)
	x.event(func(ev Events) {
		if ev.Nix != nil {
			ev.Nix(x.rec.Ref, n)
		}
	})
	if text := nixWords(n); text != "" {
		x.note("nix", "Nix: "+text)
	}
}

// nixWords are what a job has had of its Nix store in one line; empty where that is nothing.
func nixWords(n wire.Nix) string {
	var parts []string
	for _, p := range []struct {
		paths wire.NixPaths
		how   string
		size  bool
	}{{n.Built, "built", false}, {n.Substituted, "substituted", true}, {n.Reused, "reused", false}, {n.Added, "added", false}} {
		if p.paths.Paths == 0 {
			continue
		}
		s := fmt.Sprintf("%d %s", p.paths.Paths, p.how)
		if p.size && p.paths.Bytes > 0 {
			s += " (" + bytes(p.paths.Bytes) + ")"
		}
		parts = append(parts, s)
	}
	switch n.Refused {
	case 0:
	case 1:
		parts = append(parts, "1 request refused")
	default:
		parts = append(parts, fmt.Sprintf("%d requests refused", n.Refused))
	}
	return strings.Join(parts, ", ")
}

// claimedNix is what an agent says, within bounds.
func claimedNix(n wire.Nix) wire.Nix {
	count := func(n int) int { return min(max(n, 0), math.MaxInt32) }
	paths := func(p wire.NixPaths) wire.NixPaths {
		return wire.NixPaths{Paths: count(p.Paths), Bytes: clamp(p.Bytes)}
	}
	return wire.Nix{
		Built: paths(n.Built), Substituted: paths(n.Substituted), Reused: paths(n.Reused), Added: paths(n.Added),
		Refused: count(n.Refused), Connections: count(n.Connections),
	}
}
