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
	var routes string
	var err error
	onOwnThread(func() {
		if err = unix.Unshare(unix.CLONE_NEWNET); err == nil {
			fenceAll([]string{"10.213.0.0/16", "nonsense"})
			err = fence(netip.MustParsePrefix("10.213.0.0/16"))
			raw, _ := os.ReadFile("/proc/thread-self/net/route")
			routes = string(raw)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if lines := strings.Split(strings.TrimSpace(routes), "\n"); len(lines) != 2 || !strings.HasPrefix(lines[1], "*\t0000D50A\t00000000\t0201") {
		t.Errorf("routes:\n%s", routes)
	}
	if err := fence(netip.MustParsePrefix("fd00::/8")); err == nil {
		t.Error("a space of IPv6 is fenced off")
	}
}

// onOwnThread does something on a thread that ends with it, and its namespaces with the thread. That is not the process's
// first one: Go does not end it, and what it sees is what /proc/net shows to all.
func onOwnThread(do func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if unix.Gettid() != os.Getpid() {
			do()
			return
		}
		defer runtime.UnlockOSThread()
		onOwnThread(do)
	}()
	<-done
}
