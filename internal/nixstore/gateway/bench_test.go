package gateway_test

import (
	"fmt"
	"testing"

	"gitlab.com/skerry/skerry/internal/nixstore/gateway"
	"gitlab.com/skerry/skerry/internal/nixstore/nixwire"
)

// BenchmarkValidPaths asks about 100,000 paths that the job does not know, and then about the same. The scripted daemon
// takes no time of its own to speak of.
func BenchmarkValidPaths(b *testing.B) {
	const count = 100_000
	all := make([]string, count)
	for i := range all {
		all[i] = storePath("0", fmt.Sprintf("path-%d", i))
	}
	request := append(pathList(all...), tInt(0))
	for b.Loop() {
		b.StopTimer()
		d := newDaemon(b, &daemon{quiet: true}, all...)
		_, socket := newGateway(b, gateway.Config{Upstream: d.socket, Roots: b.TempDir(), Job: "j"})
		c := mustConnect(b, socket)
		b.StartTimer()
		for range 2 {
			a, err := c.call(nixwire.QueryValidPaths, nil, request...)
			if err != nil || a[0].Int != count {
				b.Fatal(a[0], err)
			}
		}
	}
}
