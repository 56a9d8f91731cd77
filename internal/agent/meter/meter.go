// Package meter measures what a job's processes have used of the machine: in a container of the job's own by
// its cgroup, elsewhere by what the kernel knows of the agent's children.
package meter

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"gitlab.com/skerry/skerry/internal/boottime"
	"gitlab.com/skerry/skerry/internal/procstat"
)

// Meter measures. It is safe for concurrent use.
type Meter struct{ memory, cpu string } // directories; empty: not known or not the container's alone

// Reading is what a Meter has read; what is not known is 0.
type Reading struct {
	CPU      time.Duration // so far
	Memory   int64         // the peak so far, bytes
	Limit    int64         // of memory, bytes; 0 none
	OOMKills int           // processes killed so far for want of memory
}

// New returns the meter of this process's place.
func New(container bool) *Meter {
	m := &Meter{}
	if container {
		m.find("/proc/self/cgroup", "/sys/fs/cgroup", os.Getpid())
		if first, err := procstat.Read(1); err != nil || m.older(boottime.Now()-time.Duration(first.Start)*tick) { //nolint:gosec // below a century
			*m = Meter{}
		}
	}
	return m
}

// tick is the unit of process's start times, USER_HZ (proc_pid_stat(5)).
const tick = 10 * time.Millisecond

// older reports whether the cgroup has used more time than a container can have of that age: then it is not
// the container's own, as with a rootless engine that may not make any.
func (m *Meter) older(age time.Duration) bool {
	return m.cpu == "" || m.Read().CPU > age*time.Duration(runtime.NumCPU())+time.Second
}

// find looks for the cgroups of process pid, of version 1 first: where both are mounted the controllers are there.
func (m *Meter) find(list, mount string, pid int) {
	raw, err := os.ReadFile(list)
	if err != nil {
		return
	}
	for line := range strings.Lines(string(raw)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) != 3 {
			continue
		}
		for controller := range strings.SplitSeq(f[1], ",") {
			switch controller {
			case "memory":
				m.memory = own(pid, filepath.Join(mount, f[1]), f[2], "memory.usage_in_bytes")
			case "cpuacct":
				m.cpu = own(pid, filepath.Join(mount, f[1]), f[2], "cpuacct.usage")
			case "":
				if m.memory == "" && m.cpu == "" {
					m.memory = own(pid, mount, f[2], "memory.current")
					m.cpu = own(pid, mount, f[2], "cpu.stat")
				}
			}
		}
	}
}

// own is the directory of a cgroup that has the file name, if all that is in it is in this container: version 2
// shows processes outside the pid namespace as 0. Inside a container the mount begins at the container's own.
func own(pid int, mount, path, name string) string {
	for _, dir := range []string{filepath.Join(mount, path), mount} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			continue
		}
		if _, err := os.Stat(filepath.Join(dir, "release_agent")); err == nil {
			continue // the whole machine's, version 1
		}
		raw, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		if pids := strings.Fields(string(raw)); err == nil && slices.Contains(pids, strconv.Itoa(pid)) && !slices.Contains(pids, "0") {
			return dir
		}
	}
	return ""
}

// Read measures.
func (m *Meter) Read() Reading {
	var r Reading
	if m.memory != "" {
		r.Memory = max(number(m.memory, "memory.peak"), number(m.memory, "memory.max_usage_in_bytes"))
		if r.Limit = max(number(m.memory, "memory.max"), number(m.memory, "memory.limit_in_bytes")); r.Limit > 1<<60 {
			r.Limit = 0
		}
		r.OOMKills = int(max(field(m.memory, "memory.events", "oom_kill"), field(m.memory, "memory.oom_control", "oom_kill")))
	}
	if m.cpu != "" {
		r.CPU = time.Duration(number(m.cpu, "cpuacct.usage")) + time.Duration(field(m.cpu, "cpu.stat", "usage_usec"))*time.Microsecond
	}
	var self, children syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &self) != nil || syscall.Getrusage(syscall.RUSAGE_CHILDREN, &children) != nil {
		return r
	}
	if r.CPU == 0 {
		for _, t := range []syscall.Timeval{self.Utime, self.Stime, children.Utime, children.Stime} {
			r.CPU += time.Duration(t.Nano())
		}
	}
	if r.Memory == 0 {
		r.Memory = children.Maxrss << 10
	}
	return r
}

// number reads a file that holds one; 0 when there is none.
func number(dir, name string) int64 {
	raw, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return 0
	}
	n, err := strconv.ParseInt(string(bytes.TrimSpace(raw)), 10, 64)
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// field reads the number behind a name in a file of such lines; 0 when there is none.
func field(dir, name, key string) int64 {
	raw, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(raw)) {
		k, v, _ := strings.Cut(strings.TrimSpace(line), " ")
		if n, err := strconv.ParseInt(v, 10, 64); k == key && err == nil && n >= 0 && n < math.MaxInt32<<20 {
			return n
		}
	}
	return 0
}
