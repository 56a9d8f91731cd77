// Package boottime is a clock that neither a jump of the wall clock nor a suspended machine disturbs, as
// long as the machine is not restarted.
package boottime

import (
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Now is the time since the machine was started, suspension included (CLOCK_BOOTTIME). Compare it only
// with times of the same boot: see ID.
func Now() time.Duration {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) != nil {
		return 0 // exists since Linux 2.6.39
	}
	return time.Duration(ts.Nano())
}

// ID names this boot of the machine; empty when the kernel does not say.
func ID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
