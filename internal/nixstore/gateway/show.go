package gateway

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"gitlab.com/skerry/skerry/internal/nixstore/nixconn"
	"gitlab.com/skerry/skerry/internal/nixstore/nixwire"
)

// A job with a view of its own sees what it knows, and learns of nothing else: a path's name has 160 bits that nobody
// guesses, so who can name a path has been told of it, or has what it is made of. Answers that name other paths leave
// them out.

// whyVerify is why a job with a view does not have the store verified.
const whyVerify = "this job sees only those paths of the machine's store that it knows, and verification tells of all"

// hides reports whether the job may not learn of a path.
func (g *Gateway) hides(p nixwire.StorePath) bool { return g.view != nil && !g.view.Shows(p) }

// hide takes the path out of a token that may have none, if the job may not learn of it.
func (g *Gateway) hide(t *nixwire.Token) {
	if t.Str != "" && g.hides(nixwire.StorePath(t.Str)) {
		t.Str = ""
	}
}

// show makes what is valid of paths visible to the job, with all that it refers to. The caller keeps it from being
// collected.
func (g *Gateway) show(ctx context.Context, up *nixconn.Conn, v nixwire.Version, valid map[nixwire.StorePath]bool, relay func(*nixwire.Message) error) error {
	if g.view == nil {
		return nil
	}
	all := map[nixwire.StorePath]bool{}
	next := slices.Collect(maps.Keys(valid))
	for len(next) > 0 {
		var fresh []nixwire.StorePath
		for _, p := range next {
			if !all[p] && !g.view.Shows(p) {
				all[p] = true
				fresh = append(fresh, p)
			}
		}
		next = nil
		answered := 0
		if err := up.Each(v, nixwire.QueryPathInfo, fresh, relay, func(_ nixwire.StorePath, answer []nixwire.Token) {
			if answer[0].Int != 0 {
				answered++
				next = append(next, nixconn.Paths(answer[2:])...) // without the deriver
			}
		}); err != nil {
			return err
		}
		if answered < len(fresh) {
			return fmt.Errorf("find what store paths refer to: %w", errVanished)
		}
	}
	return g.view.Show(ctx, slices.Collect(maps.Keys(all)))
}

// showKnown makes visible what the job knows from the beginning.
func (g *Gateway) showKnown(ctx context.Context, known map[nixwire.StorePath]bool) error {
	if g.view == nil {
		return nil
	}
	up, v, err := g.dial.Open(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = up.Close() }() // nothing to lose
	return g.show(ctx, up, v, known, nil)
}

// Ready waits until the job sees what it knows from the beginning, if it can be had.
func (g *Gateway) Ready(ctx context.Context) {
	if g.view == nil {
		return
	}
	select {
	case <-g.known:
	case <-ctx.Done():
	}
}

// answerShown answers what would tell of all paths, or of all that have roots.
func (s *session) answerShown(op nixwire.Op) error {
	var paths []nixwire.StorePath
	if op == nixwire.QueryAllValidPaths {
		paths = s.g.view.Shown()
	}
	slices.Sort(paths)
	answer := []nixwire.Token{{Kind: nixwire.List, Int: uint64(len(paths))}}
	for _, p := range paths {
		answer = append(answer, nixwire.Token{Kind: nixwire.Path, Str: string(p)})
	}
	return s.answer(answer...)
}
