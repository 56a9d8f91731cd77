package engine

import (
	"testing"

	"gitlab.com/skerry/skerry/internal/agent/wire"
)

func TestNixWords(t *testing.T) {
	t.Parallel()
	const mib = 1 << 20
	for want, n := range map[string]wire.Nix{
		"": {Connections: 3},
		"3 built, 12 substituted (48.0 MiB), 40 reused": {
			Built: wire.NixPaths{Paths: 3, Bytes: mib}, Substituted: wire.NixPaths{Paths: 12, Bytes: 48 * mib}, Reused: wire.NixPaths{Paths: 40},
		},
		"1 substituted, 2 added, 1 request refused": {Substituted: wire.NixPaths{Paths: 1}, Added: wire.NixPaths{Paths: 2}, Refused: 1},
		"2147483647 built, 2 requests refused":      {Built: wire.NixPaths{Paths: 1 << 40}, Reused: wire.NixPaths{Paths: -1}, Refused: 2},
	} {
		if got := nixWords(claimedNix(n)); got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
}
