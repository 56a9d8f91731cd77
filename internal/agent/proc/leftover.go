package proc

import (
	"os"
	"strings"
	"time"
)

// Record is what is written down of a process so that a successor of a killed agent can find it.
type Record struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // clock ticks since boot
}

// Record describes the process; false when it has ended already.
func (p *Process) Record() (Record, bool) {
	i, ok := stat(p.child.pid)
	return Record{PID: i.pid, Start: i.start}, ok
}

// EndLeftovers ends what an earlier agent's processes left: the recorded ones that are still the
// same, their sessions, everything whose mark begins with prefix, and the descendants of all these. Records
// must be of this boot.
func EndLeftovers(records []Record, prefix string, grace time.Duration) error {
	return end(func() []info { return leftovers(records, prefix) }, &asked{}, grace)
}

func leftovers(records []Record, prefix string) []info {
	all := scan()
	found := map[int]info{}
	add := func(p info) {
		for _, q := range append(descendants(all, p.pid), p) {
			if q.pid != os.Getpid() {
				found[q.pid] = q
			}
		}
	}
	for _, r := range records {
		// While the leader lives its session's number cannot be anybody else's.
		if p, ok := all[r.PID]; ok && p.start == r.Start {
			for _, q := range all {
				if q.pid == r.PID || q.sid == r.PID {
					add(q)
				}
			}
		}
	}
	for _, p := range all {
		if strings.HasPrefix(marked(p.pid, MarkVariable), prefix) {
			add(p)
		}
	}
	list := make([]info, 0, len(found))
	for _, p := range found {
		list = append(list, p)
	}
	return list
}
