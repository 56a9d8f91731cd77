package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"gitlab.com/skerry/skerry/internal/nixstore/nixconn"
	"gitlab.com/skerry/skerry/internal/nixstore/nixwire"
)

// errVanished is that something was deleted between the daemon's answer and its being held; it can only be if the
// daemon's collector takes what it was told to keep.
var errVanished = errors.New("a store path was deleted by a garbage collection before the answer could be given: try again")

// holds reports whether the answer to op says that paths are valid.
func holds(op nixwire.Op) bool {
	switch op { //nolint:exhaustive // all others do not
	case nixwire.IsValidPath, nixwire.QueryValidPaths, nixwire.QueryPathInfo, nixwire.EnsurePath, nixwire.QueryPathFromHashPart,
		nixwire.QueryReferrers, nixwire.QueryValidDerivers, nixwire.QueryDeriver, nixwire.QueryDerivationOutputNames, nixwire.AddTextToStore,
		nixwire.BuildPaths, nixwire.BuildPathsWithResults, nixwire.BuildDerivation, nixwire.QueryRealisation, nixwire.AddSignatures:
		return true
	}
	return false
}

// told holds what an answer says, takes out of it what is not valid any more, and passes it on.
func (s *session) told(ctx context.Context, op nixwire.Op, request, answer []nixwire.Token) error {
	var err error
	switch op { //nolint:exhaustive // see holds
	case nixwire.IsValidPath:
		if answer[0].Int != 0 {
			answer[0].Int = 0
			if err = s.mustHold(ctx, claims(reused, nixconn.Paths(request)...)); err == nil {
				answer[0].Int = 1
			}
		}
	case nixwire.QueryPathInfo:
		if answer[0].Int != 0 {
			c := claim{path: nixwire.StorePath(request[0].Str), from: reused, size: infoSize(answer[1:])}
			if err = s.mustHold(ctx, []claim{c}); err != nil {
				answer = []nixwire.Token{{Kind: nixwire.Opt}}
			} else {
				s.g.hide(&answer[1]) // the deriver
			}
		}
	case nixwire.QueryValidPaths, nixwire.QueryReferrers, nixwire.QueryValidDerivers:
		return s.toldPaths(ctx, op, answer)
	case nixwire.QueryPathFromHashPart:
		if err = s.mustHold(ctx, claims(reused, nixconn.Paths(answer)...)); err != nil {
			answer[0].Str = ""
		}
	case nixwire.EnsurePath, nixwire.QueryDeriver, nixwire.QueryDerivationOutputNames, nixwire.AddSignatures:
		if err = s.mustHold(ctx, claims(reused, nixconn.Paths(request)...)); errors.Is(err, errVanished) {
			return s.fail(err)
		}
		if op == nixwire.QueryDeriver {
			s.g.hide(&answer[0])
		}
	case nixwire.AddTextToStore:
		if err = s.mustHold(ctx, claims(added, nixconn.Paths(answer)...)); errors.Is(err, errVanished) {
			return s.fail(err)
		}
	default:
		err = s.toldBuilt(ctx, request, answer)
	}
	if err != nil && !errors.Is(err, errVanished) {
		return err
	}
	return s.answer(answer...)
}

// mustHold is hold with the error errVanished where one of list is not valid.
func (s *session) mustHold(ctx context.Context, list []claim) error {
	valid, err := s.hold(ctx, list)
	if err != nil {
		return err
	}
	for _, c := range list {
		if !valid(c.path) {
			return fmt.Errorf("%s: %w", c.path, errVanished)
		}
	}
	return nil
}

// toldPaths is told for an answer that is a list of paths.
func (s *session) toldPaths(ctx context.Context, op nixwire.Op, answer []nixwire.Token) error {
	paths := nixconn.Paths(answer)
	if op != nixwire.QueryValidPaths { // those the job has named
		paths = slices.DeleteFunc(paths, s.g.hides)
	}
	valid, err := s.hold(ctx, claims(reused, paths...))
	if err != nil {
		return err
	}
	left := answer[:1]
	for _, t := range answer[1:] {
		if valid(nixwire.StorePath(t.Str)) {
			left = append(left, t)
		}
	}
	left[0].Int = uint64(len(left) - 1)
	return s.answer(left...)
}

// toldBuilt holds what was built: the paths that were asked for, the outputs of derivations among them, and the outputs
// that the answer names.
func (s *session) toldBuilt(ctx context.Context, request, answer []nixwire.Token) error {
	var derivations []nixwire.StorePath
	var list []claim
	for _, t := range request {
		if t.Kind == nixwire.Derived {
			p, outputs, err := nixwire.DerivedPath(t.Str)
			if err != nil {
				return err
			}
			if outputs {
				derivations = append(derivations, p)
			}
			list = append(list, claim{path: p, from: reused})
		}
	}
	list = append(list, claims(reused, nixconn.Paths(answer)...)...)
	for _, t := range answer {
		if p, ok := realisation(t); ok {
			list = append(list, claim{path: p, from: reused})
		}
	}
	if len(request) > 1 && request[1].Kind == nixwire.List && request[0].Kind == nixwire.Path && s.made.builds != nil {
		for i := range list { // BuildDerivation: the daemon may have built it by another name
			list[i].from = built
		}
	}
	outputs, err := s.outputs(derivations)
	if err != nil {
		return err
	}
	_, err = s.holdAll(ctx, append(list, outputs...))
	return err
}

// realisation is the path of an output as daemons before 2.35 tell of it: JSON with the last part of its path.
func realisation(t nixwire.Token) (nixwire.StorePath, bool) {
	if t.Kind != nixwire.Str || len(t.Str) == 0 || t.Str[0] != '{' {
		return "", false
	}
	var r struct {
		OutPath string `json:"outPath"`
	}
	if json.Unmarshal([]byte(t.Str), &r) != nil {
		return "", false
	}
	p, err := nixwire.FromBase(r.OutPath)
	return p, err == nil
}
