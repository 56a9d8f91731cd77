package mask

import (
	"math/rand/v2"
	"strings"
	"testing"
)

// TestGateMissesNothing compares the gate with the plain question whether a pattern begins.
func TestGateMissesNothing(t *testing.T) {
	t.Parallel()
	for seed := range uint64(1000) {
		r := rand.New(rand.NewPCG(seed, 9))
		patterns, keys := append(words(r, 5, 9), "aaaaaaaaaa"), []string{"?rss_token=", "&x-amz-credential="}
		g, p := newGate(patterns, keys), sample(r, patterns, keys)
		may := func(i int) bool {
			for _, w := range patterns {
				if n := min(len(w), len(p)-i); p[i:i+n] == w[:n] {
					return true
				}
			}
			for _, w := range keys {
				if n := min(len(w), len(p)-i); strings.EqualFold(p[i:i+n], w[:n]) {
					return true
				}
			}
			return false
		}
		for from := range len(p) {
			got := g.next([]byte(p), from)
			for i := from; i < got; i++ {
				if may(i) {
					t.Fatalf("seed %d: %q in %q from %d: went to %d past %d", seed, patterns, p, from, got, i)
				}
			}
		}
	}
}

// TestGateChangesNothing compares, write by write, with a Filter that never takes the short way.
func TestGateChangesNothing(t *testing.T) {
	t.Parallel()
	for seed := range uint64(5000) {
		r := rand.New(rand.NewPCG(seed, 10))
		secrets, prefixes := words(r, 4, 8), append(DefaultPrefixes(), "tok-")
		s, in := New(secrets, prefixes), sample(r, secrets, prefixes)
		var short, long text
		f, g := s.Filter(&short), s.Filter(&long)
		for _, p := range split(r, in) {
			f.Write([]byte(p))
			g.values([]byte(p))
			if short.String() != long.String() {
				t.Fatalf("seed %d: secrets %q, in %q, after %q: %q, the long way %q", seed, secrets, in, p, short.String(), long.String())
			}
		}
	}
}
