package gateway

import (
	"strconv"
	"strings"

	"gitlab.com/skerry/skerry/internal/nixstore/nixwire"
)

// The modes of a build.
const (
	modeRepair = 1
)

// The reasons for refusals that are given more than once.
const (
	whyRepair  = "repairing replaces store paths that other jobs use. Ask who runs the machine to repair the store"
	whyRemoved = "the operation has been removed from Nix's protocol. Use nix copy"
)

// refusal says why an operation is refused; empty: it is not.
func refusal(op nixwire.Op, request []nixwire.Token) string {
	last := uint64(0)
	if n := len(request); n > 0 {
		last = request[n-1].Int
	}
	switch op { //nolint:exhaustive // what is left is allowed
	case nixwire.CollectGarbage:
		return "the store is shared with other jobs, and what they need must stay. Skerry itself collects what no job uses; there is nothing to do in a job"
	case nixwire.OptimiseStore:
		return "the store is shared with other jobs. Who runs the machine decides about its optimisation"
	case nixwire.VerifyStore:
		if last != 0 {
			return whyRepair
		}
	case nixwire.BuildPaths, nixwire.BuildPathsWithResults:
		if last == modeRepair {
			return whyRepair
		}
	case nixwire.BuildDerivation:
		return buildRefusal(request, last)
	case nixwire.AddToStore:
		if last != 0 {
			return whyRepair
		}
		if _, ok := contentOf(request); !ok {
			return "the way to address content " + strconv.Quote(request[1].Str) + " is not known"
		}
	case nixwire.AddToStoreNar:
		if request[len(request)-2].Int != 0 {
			return whyRepair
		}
	case nixwire.AddMultipleToStore:
		if request[0].Int != 0 {
			return whyRepair
		}
	case nixwire.AddPermRoot:
		return "permanent roots are made by who runs the machine, with skerry nix pin. What a job uses stays until the job ends without one"
	case nixwire.AddBuildLog:
		return "the logs of builds are shared with other jobs, and only the daemon writes them"
	case nixwire.RegisterDrvOutput:
		return "which path a content-addressed derivation makes is decided by building or substituting it, not by a job's word"
	case nixwire.HasSubstitutes, nixwire.QueryPathHash, nixwire.QueryReferences, nixwire.ExportPath, nixwire.ImportPaths,
		nixwire.QueryFailedPaths, nixwire.ClearFailedPaths:
		return whyRemoved
	}
	return ""
}

// buildRefusal is refusal for a derivation that comes with the request. The paths of outputs that are addressed by their
// input follow from derivations that the daemon has not seen: one that trusts us would take them as claimed.
func buildRefusal(request []nixwire.Token, mode uint64) string {
	if mode == modeRepair {
		return whyRepair
	}
	outputs := request[2:]
	for i := range int(request[1].Int) { //nolint:gosec // at most what has been read
		if algorithm := outputs[4*i+2].Str; algorithm == "" {
			return "the derivation is addressed by its inputs, and only trusted clients may build those without adding the derivation to the store. Use the daemon as a store (NIX_REMOTE=daemon), not as a remote builder"
		}
	}
	return ""
}

// newerThan reports whether a version of Nix is at least major.minor; what is not a version is not.
func newerThan(version string, major, minor int) bool {
	fields := strings.SplitN(version, ".", 3)
	if len(fields) < 2 {
		return false
	}
	a, err1 := strconv.Atoi(fields[0])
	digits := fields[1]
	if i := strings.IndexFunc(digits, func(r rune) bool { return r < '0' || r > '9' }); i >= 0 {
		digits = digits[:i]
	}
	b, err2 := strconv.Atoi(digits)
	return err1 == nil && err2 == nil && (a > major || a == major && b >= minor)
}
