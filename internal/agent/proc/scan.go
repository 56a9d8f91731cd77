package proc

import (
	"bytes"
	"os"
	"strconv"

	"gitlab.com/skerry/skerry/internal/procstat"
)

// identity names one process for ever within one boot: a pid is used again, its start time is not.
type identity struct {
	pid   int
	start uint64 // clock ticks since boot
}

// info is what /proc/PID/stat says of a process.
type info struct {
	identity
	ppid, sid int
}

// scan lists the processes that have not ended.
func scan() map[int]info {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	out := make(map[int]info, len(names))
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			if p, ok := stat(pid); ok {
				out[pid] = p
			}
		}
	}
	return out
}

// stat reads one process; false when there is none or it has ended.
func stat(pid int) (info, bool) {
	s, err := procstat.Read(pid)
	if err != nil || s.Ended() {
		return info{}, false
	}
	return info{identity: identity{pid: pid, start: s.Start}, ppid: s.Parent, sid: s.Session}, true
}

// descendants lists the processes below root, without root, parents before their children.
func descendants(all map[int]info, root int) []info {
	children := make(map[int][]info, len(all))
	for _, p := range all {
		children[p.ppid] = append(children[p.ppid], p)
	}
	var out []info
	for next := children[root]; len(next) > 0; {
		p := next[len(next)-1]
		next = next[:len(next)-1]
		out = append(out, p)
		next = append(next, children[p.pid]...)
	}
	return out
}

// marked returns the value of variable key in a process's environment at its start; empty when it
// has none or may not be read.
func marked(pid int, key string) string {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	if err != nil {
		return ""
	}
	for len(b) > 0 {
		var kv []byte
		kv, b, _ = bytes.Cut(b, []byte{0})
		if v, ok := bytes.CutPrefix(kv, []byte(key+"=")); ok {
			return string(v)
		}
	}
	return ""
}
