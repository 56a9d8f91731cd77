package collect

import (
	"context"
	"maps"
	"slices"
	"strings"

	"gitlab.com/skerry/skerry/internal/nixstore/nixd/volumes"
)

// Stat is the answer of CommandStat. Bytes are those of archives.
type Stat struct {
	Paths     int              `json:"paths"`
	Bytes     int64            `json:"bytes"`
	Jobs      map[string]Share `json:"jobs"`      // what each holds, with all below; shares overlap
	Pins      map[string]Share `json:"pins"`      // the same
	Recent    Share            `json:"recent"`    // what nothing holds, but jobs have used
	Dead      Share            `json:"dead"`      // what nothing holds and no job has used
	Temporary Share            `json:"temporary"` // what open connections hold
}

// Share is a part of the store.
type Share struct {
	Paths int   `json:"paths"`
	Bytes int64 `json:"bytes"`
}

func share(g volumes.Graph, set map[string]bool) Share {
	var s Share
	for base := range set {
		if n, valid := g[base]; valid {
			s.Paths, s.Bytes = s.Paths+1, s.Bytes+n.Size
		}
	}
	return s
}

// Statistics counts.
func Statistics(ctx context.Context, l volumes.Layout) (Stat, error) {
	g, h, err := look(ctx, l)
	if err != nil {
		return Stat{}, err
	}
	return statistics(g, h), nil
}

func look(ctx context.Context, l volumes.Layout) (volumes.Graph, holders, error) {
	nix, err := volumes.FindNix(l, "")
	if err != nil {
		return nil, nil, err
	}
	g, err := volumes.ReadGraph(ctx, nix)
	if err != nil {
		return nil, nil, err
	}
	h, err := findHolders(l)
	return g, h, err
}

func statistics(g volumes.Graph, h holders) Stat {
	s := Stat{Paths: len(g), Jobs: map[string]Share{}, Pins: map[string]Share{}}
	for _, n := range g {
		s.Bytes += n.Size
	}
	sets := map[string]map[string]bool{}
	for base, by := range h {
		for _, holder := range by {
			kind, name, _ := strings.Cut(holder, ":")
			key := kind
			if kind == "job" || kind == "pin" {
				key = kind + ":" + name
			}
			if sets[key] == nil {
				sets[key] = map[string]bool{}
			}
			sets[key][base] = true
		}
	}
	for key, set := range sets {
		g.Close(set)
		switch kind, name, _ := strings.Cut(key, ":"); kind {
		case "job":
			s.Jobs[name] = share(g, set)
		case "pin":
			s.Pins[name] = share(g, set)
		}
	}
	s.Temporary = share(g, sets["temporary"])
	held, recent, dead := h.held(g), map[string]bool{}, map[string]bool{}
	for base := range g {
		switch {
		case held[base]:
		case sets["recent"][base]:
			recent[base] = true
		default:
			dead[base] = true
		}
	}
	s.Recent, s.Dead = share(g, recent), share(g, dead)
	return s
}

// Path is a path in the answer of CommandList.
type Path struct {
	Path  string   `json:"path"`
	Bytes int64    `json:"bytes"`           // of its archive
	Roots []string `json:"roots,omitempty"` // what holds it directly: job:NAME, pin:NAME, push:queue, recent:HOUR, temporary:PID, root:PATH
}

// List lists all valid paths, with what holds them if roots is set.
func List(ctx context.Context, l volumes.Layout, roots bool) ([]Path, error) {
	g, h, err := look(ctx, l)
	if err != nil {
		return nil, err
	}
	paths := make([]Path, 0, len(g))
	for _, base := range slices.Sorted(maps.Keys(g)) {
		p := Path{Path: volumes.StoreDir + "/" + base, Bytes: g[base].Size}
		if roots {
			p.Roots = h[base]
			slices.Sort(p.Roots)
		}
		paths = append(paths, p)
	}
	return paths, nil
}
