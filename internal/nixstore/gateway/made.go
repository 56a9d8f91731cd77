package gateway

import (
	"context"
	"maps"
	"slices"

	"gitlab.com/skerry/skerry/internal/nixstore/nixconn"
	"gitlab.com/skerry/skerry/internal/nixstore/nixwire"
)

// made is what the daemon says that it does for an operation.
type made struct {
	builds  map[nixwire.StorePath]bool // derivations
	fetched map[nixwire.StorePath]bool
}

// maxMade bounds how much of that is kept.
const maxMade = 1 << 17

func (m *made) reset() { *m = made{} }

// note notes what an activity that begins says.
func (m *made) note(msg *nixwire.Message) {
	if msg.Kind != nixwire.StartActivity || len(msg.Fields) == 0 || len(m.builds)+len(m.fetched) >= maxMade {
		return
	}
	p, err := nixwire.ParseStorePath(msg.Fields[0].Str)
	if err != nil {
		return
	}
	switch msg.Type {
	case nixwire.ActBuild:
		if m.builds == nil {
			m.builds = map[nixwire.StorePath]bool{}
		}
		m.builds[p] = true
	case nixwire.ActSubstitute, nixwire.ActCopyPath:
		if m.fetched == nil {
			m.fetched = map[nixwire.StorePath]bool{}
		}
		m.fetched[p] = true
	}
}

// claim is a path that the job is about to be told of.
type claim struct {
	path nixwire.StorePath
	from origin
	size uint64 // as an archive; 0: not known
}

func claims(from origin, paths ...nixwire.StorePath) []claim {
	list := make([]claim, len(paths))
	for i, p := range paths {
		list[i] = claim{path: p, from: from}
	}
	return list
}

// outputs asks for the outputs of derivations, among which those of the operation in hand are.
func (s *session) outputs(derivations []nixwire.StorePath) ([]claim, error) {
	var list []claim
	all := maps.Clone(s.made.builds)
	if all == nil {
		all = map[nixwire.StorePath]bool{}
	}
	for _, p := range derivations {
		all[p] = true
	}
	err := s.up.Each(s.v, nixwire.QueryDerivationOutputMap, slices.Sorted(maps.Keys(all)), s.relay, func(drv nixwire.StorePath, answer []nixwire.Token) {
		from := reused
		if s.made.builds[drv] {
			from = built
		}
		list = append(list, claims(from, nixconn.Paths(answer)...)...)
	})
	return list, err
}

// hold makes sure that what is valid of list, and what the operation in hand has made, stays until the job ends. It
// returns which paths may be said to be valid.
func (s *session) hold(ctx context.Context, list []claim) (func(nixwire.StorePath) bool, error) {
	outputs, err := s.outputs(nil)
	if err != nil {
		return nil, err
	}
	return s.holdAll(ctx, append(outputs, list...))
}

// holdAll is hold where the outputs of what was built are in list already.
func (s *session) holdAll(ctx context.Context, list []claim) (func(nixwire.StorePath) bool, error) {
	for p := range s.made.fetched {
		list = append(list, claim{path: p, from: substituted})
	}
	best := make(map[nixwire.StorePath]claim, len(list))
	paths := make([]nixwire.StorePath, 0, len(list))
	for _, c := range list {
		if had, ok := best[c.path]; !ok {
			paths = append(paths, c.path)
		} else {
			c.from, c.size = min(c.from, had.from), max(c.size, had.size)
		}
		best[c.path] = c
	}
	first, err := s.secure(ctx, paths)
	if err != nil {
		return nil, err
	}
	if err := s.count(first, best); err != nil {
		return nil, err
	}
	return s.g.ledger.Holds, s.g.ledger.Ready(ctx)
}

// secure holds and shows those of paths that are valid, and returns those that were not held before.
func (s *session) secure(ctx context.Context, paths []nixwire.StorePath) (first []nixwire.StorePath, err error) {
	fresh, err := s.g.ledger.Begin(ctx, paths) // roots for collections to come
	if err != nil || len(fresh) == 0 {
		return nil, err
	}
	var valid map[nixwire.StorePath]bool
	defer func() { first = s.g.ledger.End(fresh, valid) }()
	there, err := s.up.Root(s.v, fresh, s.relay) // a root for the one at work
	if err == nil {
		err = s.g.show(ctx, s.up, s.v, there, s.relay)
	}
	if err == nil {
		valid = there
	}
	return nil, err
}

// count counts paths that the job knows for the first time.
func (s *session) count(first []nixwire.StorePath, best map[nixwire.StorePath]claim) error {
	var unknown []nixwire.StorePath
	for _, p := range first {
		if c := best[p]; c.size == 0 && (c.from == built || c.from == substituted) && !p.IsDerivation() {
			unknown = append(unknown, p)
		}
	}
	err := s.up.Each(s.v, nixwire.QueryPathInfo, unknown, s.relay, func(p nixwire.StorePath, answer []nixwire.Token) {
		if c := best[p]; len(answer) > 1 {
			c.size = infoSize(answer[1:])
			best[p] = c
		}
	})
	for _, p := range first {
		s.g.counter.path(p, best[p].from, best[p].size)
	}
	return err
}

// infoSize is the archive's size in what is known of a path, as nixwire.InfoShape has it.
func infoSize(info []nixwire.Token) uint64 { return info[4+info[2].Int].Int }
