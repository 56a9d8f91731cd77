// Package nixwire is the codec of Nix's worker protocol, which a client speaks with nix-daemon over a socket.
//
// Nothing on this wire says how long it is: neither requests nor answers are framed, so whoever stands between must
// know the shape of every operation. Shapes are data (Shape, Lookup); what is too large for memory is passed on in
// pieces (Frames, Archive). All that is read is bounded, because both ends of Nix allocate what a length announces.
//
// The facts are those of Nix's src/libstore/{daemon,remote-store,worker-protocol*}.cc of the versions 2.4 to 2.35; Lix
// speaks 1.35 of the same protocol.
package nixwire

import (
	"fmt"
	"slices"
	"strings"
)

// The words with which the sides of a connection begin.
const (
	MagicClient = 0x6e697863
	MagicServer = 0x6478696f
)

// The versions that are spoken: major version 1 in the upper byte.
const (
	Oldest = 1<<8 | 32 // Nix 2.4
	Newest = 1<<8 | 38 // Nix 2.26 and later, which negotiates features instead of versions
)

// The features that this package knows; others are left out of a negotiation.
const (
	FeatureRealisationWithPath  = "realisation-with-path-not-hash"
	FeatureDeadSpecificReferers = "delete-dead-specific-referrers"
)

// Version is what two sides have agreed on.
type Version struct {
	Number   uint16 // as on the wire
	Features []string
}

// Minor is the version's second number.
func (v Version) Minor() int { return int(v.Number & 0xff) }

// Has reports whether a feature has been agreed on.
func (v Version) Has(feature string) bool { return slices.Contains(v.Features, feature) }

func (v Version) String() string {
	s := VersionString(v.Number)
	if len(v.Features) > 0 {
		s += " (" + strings.Join(v.Features, ", ") + ")"
	}
	return s
}

// VersionString names a version as people do.
func VersionString(n uint16) string { return fmt.Sprintf("%d.%d", n>>8, n&0xff) }

// KnownFeatures are those of list that this package knows, in its order.
func KnownFeatures(list []string) []string {
	var known []string
	for _, f := range []string{FeatureRealisationWithPath, FeatureDeadSpecificReferers} {
		if slices.Contains(list, f) {
			known = append(known, f)
		}
	}
	return known
}
