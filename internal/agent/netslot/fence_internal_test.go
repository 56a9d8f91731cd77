package netslot

import (
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestFence fences off a space in a namespace of its own, twice.
func TestFence(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("only root makes network namespaces")
	}
	type outcome struct {
		routes string
		err    error
	}
	done := make(chan outcome)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine, and its namespace with it
		var o outcome
		if o.err = unix.Unshare(unix.CLONE_NEWNET); o.err == nil {
			fenceAll([]string{"10.213.0.0/16", "nonsense"})
			o.err = fence(netip.MustParsePrefix("10.213.0.0/16"))
			raw, _ := os.ReadFile("/proc/thread-self/net/route")
			o.routes = string(raw)
		}
		done <- o
	}()
	o := <-done
	if o.err != nil {
		t.Fatal(o.err)
	}
	if lines := strings.Split(strings.TrimSpace(o.routes), "\n"); len(lines) != 2 || !strings.HasPrefix(lines[1], "*\t0000D50A\t00000000\t0201") {
		t.Errorf("routes:\n%s", o.routes)
	}
	if err := fence(netip.MustParsePrefix("fd00::/8")); err == nil {
		t.Error("a space of IPv6 is fenced off")
	}
}
