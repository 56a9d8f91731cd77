// Package procstat reads what the kernel says of a process in /proc/PID/stat (proc_pid_stat(5)).
package procstat

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Stat is one process. PID and Start together name it for ever within one boot of the machine: a pid is
// used again, its start time is not.
type Stat struct {
	PID     int
	State   string // "R", "S", "Z", …
	Parent  int
	Session int
	Threads int
	Start   uint64 // clock ticks since the machine's start
}

// Read reads the process pid.
func Read(pid int) (Stat, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return Stat{}, err
	}
	return Parse(pid, b)
}

// Parse reads "PID (NAME) STATE PPID PGRP SID …"; the name may hold anything, also ")".
func Parse(pid int, b []byte) (Stat, error) {
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 20 || !bytes.ContainsRune(b, ')') {
		return Stat{}, fmt.Errorf("/proc/%d/stat is not as expected", pid)
	}
	parent, err1 := strconv.Atoi(f[1])
	session, err2 := strconv.Atoi(f[3])
	threads, err3 := strconv.Atoi(f[17])
	start, err4 := strconv.ParseUint(f[19], 10, 64)
	for _, err := range []error{err1, err2, err3, err4} {
		if err != nil {
			return Stat{}, fmt.Errorf("/proc/%d/stat is not as expected: %w", pid, err)
		}
	}
	return Stat{PID: pid, State: f[0], Parent: parent, Session: session, Threads: threads, Start: start}, nil
}

// Ended reports whether the process has ended and only its entry is left. A zombie with threads lives on
// in these.
func (s Stat) Ended() bool {
	return s.State == "X" || s.State == "Z" && s.Threads == 1
}
