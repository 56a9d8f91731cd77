package gateway

import (
	"context"
	"errors"
	"fmt"

	"gitlab.com/skerry/skerry/internal/nixstore/nixconn"
	"gitlab.com/skerry/skerry/internal/nixstore/nixwire"
)

// operation serves one operation. The error ends the connection.
func (s *session) operation(ctx context.Context, op nixwire.Op) error {
	shape, known := nixwire.Lookup(op)
	if !known {
		s.g.counter.refused("unknown")
		return errors.Join(s.fail(fmt.Errorf("Skerry's Nix gateway does not know operation %d, and ends this connection: what follows it cannot be understood. Nix's protocol is known up to %s", //nolint:staticcheck // for people
			uint64(op), nixwire.VersionString(nixwire.Newest))), errEnd)
	}
	limit, release := s.limit(ctx)
	defer release()
	request, err := nixwire.Read(s.client.R, s.v, shape.Request, limit)
	if err != nil {
		return err
	}
	why := refusal(op, request)
	if op == nixwire.AddTempRoot && s.asked >= maxAsked {
		why = fmt.Sprintf("this connection has made %d temporary roots, and the daemon keeps a record of each. Open another connection", maxAsked)
	}
	if op == nixwire.VerifyStore && s.g.view != nil {
		why = whyVerify
	}
	if why != "" {
		if shape.Body == nixwire.Framed {
			if err := nixwire.NewFrames(s.client.R).Drain(); err != nil {
				return err
			}
		}
		return s.refuse(op, why, nil)
	}
	s.made.reset()
	if err := s.revive(ctx); err != nil {
		return err
	}
	switch op { //nolint:exhaustive // the others are alike
	case nixwire.AddIndirectRoot: // the client's link means nothing to the daemon, and what it points to is held anyway
		return s.answer(nixwire.Token{Int: 1})
	case nixwire.QueryRealisation:
		if !s.v.Has(nixwire.FeatureRealisationWithPath) && newerThan(s.hello.Nix, 2, 35) {
			return s.answer(nixwire.Token{Kind: nixwire.List}) // such a daemon cannot even read the question
		}
	case nixwire.FindRoots, nixwire.QueryAllValidPaths:
		if s.g.view != nil {
			return s.answerShown(op)
		}
	case nixwire.SetOptions:
		request = s.options(request)
	case nixwire.AddSignatures:
		if why, err := s.signaturesRefusal(request); err != nil || why != "" {
			return s.refuse(op, why, err)
		}
	case nixwire.NarFromPath:
		return s.archive(ctx, request)
	}
	if shape.Body == nixwire.Framed {
		return s.framed(ctx, op, shape, request)
	}
	return s.plain(ctx, op, shape, request)
}

// refuse tells the client why it does not get what it asks for, unless there is an error.
func (s *session) refuse(op nixwire.Op, why string, err error) error {
	if err != nil {
		return err
	}
	s.g.counter.refused(op.String())
	return s.fail(fmt.Errorf("Skerry's Nix gateway refuses %s: %s", op, why)) //nolint:staticcheck // for people
}

// answer answers an operation without asking the daemon.
func (s *session) answer(tokens ...nixwire.Token) error {
	s.client.W.Uint64(nixwire.Last)
	nixwire.Write(s.client.W, tokens)
	return s.client.W.Flush()
}

// plain serves an operation whose request and answer are their shapes.
func (s *session) plain(ctx context.Context, op nixwire.Op, shape nixwire.Operation, request []nixwire.Token) error {
	err := s.ask(op, request)
	if s.again(ctx, err) {
		if err := s.revive(ctx); err != nil {
			return err
		}
		err = s.ask(op, request)
	}
	s.remember(op, request)
	var failed *nixconn.FailureError
	switch {
	case errors.As(err, &failed):
		return s.failed(ctx, failed)
	case err != nil:
		return err
	case !holds(op):
		return s.pass(op, shape)
	}
	answer, err := nixwire.Read(s.up.R, s.v, shape.Answer, &nixwire.Limit{Left: nixconn.MaxAnswer})
	if err != nil {
		return err
	}
	return s.told(ctx, op, request, answer)
}

// ask asks the daemon, and comes back when its answer follows.
func (s *session) ask(op nixwire.Op, request []nixwire.Token) error {
	if err := s.protect(op, request); err != nil {
		return err
	}
	s.up.W.Uint64(uint64(op))
	nixwire.Write(s.up.W, request)
	if err := s.up.W.Flush(); err != nil {
		return err
	}
	return s.up.Last(s.relay)
}

// pass passes an answer on that says of no path that it is valid.
func (s *session) pass(op nixwire.Op, shape nixwire.Operation) error {
	var change func(*nixwire.Token)
	if op == nixwire.FindRoots {
		change = func(t *nixwire.Token) { // whose roots they are is nobody's business
			if t.Kind == nixwire.Str {
				t.Str = "{censored}"
			}
		}
	}
	s.client.W.Uint64(nixwire.Last)
	if err := nixwire.Copy(s.client.W, s.up.R, s.v, shape.Answer, change); err != nil {
		return errors.Join(err, errEnd) // in the middle of an answer nothing can be said
	}
	return s.client.W.Flush()
}

// failed passes an error on, after holding what has been made in spite of it.
func (s *session) failed(ctx context.Context, failed *nixconn.FailureError) error {
	if _, err := s.hold(ctx, nil); err != nil {
		return err
	}
	return s.fail(failed)
}

// protect makes temporary roots of the paths that a request wants to be there, so that they stay once they are found.
func (s *session) protect(op nixwire.Op, request []nixwire.Token) error {
	var paths []nixwire.StorePath
	switch op { //nolint:exhaustive // what is asked for need not stay
	case nixwire.EnsurePath:
		paths = nixconn.Paths(request)
	case nixwire.BuildPaths, nixwire.BuildPathsWithResults:
		paths = basesOf(request)
	}
	var fresh []nixwire.StorePath
	for _, p := range paths {
		if !s.g.ledger.Holds(p) && s.asked < maxAsked {
			s.asked++
			fresh = append(fresh, p)
		}
	}
	return s.up.Each(s.v, nixwire.AddTempRoot, fresh, s.relay, nil)
}

// maxAsked is how many temporary roots a client may have on a connection, of paths that need not exist.
const maxAsked = 1 << 18

// basesOf are the paths of what is to be built.
func basesOf(tokens []nixwire.Token) []nixwire.StorePath {
	var paths []nixwire.StorePath
	for _, t := range tokens {
		if t.Kind == nixwire.Derived {
			if p, _, err := nixwire.DerivedPath(t.Str); err == nil {
				paths = append(paths, p)
			}
		}
	}
	return paths
}
