// Package memory reads what the kernel counts of the memory of the agent's own container.
package memory

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Root is where a container has its control group.
const Root = "/sys/fs/cgroup"

// Usage is what the container's processes have taken together since its start.
type Usage struct {
	Kills int   // processes that the kernel has killed for lack of memory
	Limit int64 // bytes; 0: none
	Peak  int64 // bytes; 0: the kernel does not say
}

// noLimit is what control groups of the first version say when there is none: nearly the largest number.
const noLimit = 1 << 60

// Read reads the control group below root, of either version; false when it is not the container's
// own (a rootless engine may have no control over memory: what is seen there is the machine's) or cannot be read.
func Read(root string) (Usage, bool) {
	if u, ok := read(root, "memory.max", "memory.peak", "memory.events"); ok {
		return u, true
	}
	return read(filepath.Join(root, "memory"), "memory.limit_in_bytes", "memory.max_usage_in_bytes", "memory.oom_control")
}

func read(dir, limit, peak, events string) (Usage, bool) {
	procs, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	// A process of another pid name space is 0 here.
	if err != nil || slices.Contains(strings.Fields(string(procs)), "0") {
		return Usage{}, false
	}
	raw, err := os.ReadFile(filepath.Join(dir, events))
	if err != nil {
		return Usage{}, false
	}
	u := Usage{Limit: number(dir, limit), Peak: number(dir, peak)}
	if u.Limit >= noLimit {
		u.Limit = 0
	}
	for line := range strings.Lines(string(raw)) {
		if n, ok := strings.CutPrefix(line, "oom_kill "); ok {
			u.Kills, _ = strconv.Atoi(strings.TrimSpace(n)) // 0: not understood
		}
	}
	return u, true
}

// number is that in a file; 0 when there is none ("max").
func number(dir, name string) int64 {
	raw, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return 0
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(raw)), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// Killed says for people that processes were killed between before and u; empty when none were.
func (u Usage) Killed(before Usage) string {
	n := u.Kills - before.Kills
	if n <= 0 {
		return ""
	}
	who, limit, peak := "a process was", "", ""
	if n > 1 {
		who = fmt.Sprintf("%d processes were", n)
	}
	if u.Limit > 0 {
		limit = fmt.Sprintf(" (the limit is %s", size(u.Limit))
		if u.Peak > 0 {
			peak = ", the peak was " + size(u.Peak)
		}
		peak += ")"
	}
	return "out of memory: " + who + " killed" + limit + peak
}

func size(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
