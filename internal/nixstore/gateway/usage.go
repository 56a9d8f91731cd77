package gateway

import (
	"maps"
	"sync"

	"gitlab.com/skerry/skerry/internal/nixstore/nixwire"
)

// Count is a number of store paths and how large they are together, as archives.
type Count struct {
	Paths int   `json:"paths"`
	Bytes int64 `json:"bytes,omitempty"`
}

// Usage is what clients have had of the store so far. Every path counts once, the way it came first, and derivations do
// not count.
type Usage struct {
	Built       Count          `json:"built"`             // for this job
	Substituted Count          `json:"substituted"`       // for this job
	Reused      Count          `json:"reused"`            // were there already; their size is known only where a client asked for it
	Added       Count          `json:"added"`             // by clients
	Refused     map[string]int `json:"refused,omitempty"` // operations that were refused, by name
	Connections int            `json:"connections"`
}

// origin is how a path came to be known; a lower one is the better answer.
type origin uint8

const (
	added origin = iota
	built
	substituted
	reused
)

// counter counts. It is safe for concurrent use.
type counter struct {
	mu sync.Mutex
	u  Usage
}

func (c *counter) read() Usage {
	c.mu.Lock()
	defer c.mu.Unlock()
	u := c.u
	u.Refused = maps.Clone(u.Refused)
	return u
}

func (c *counter) connected() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.u.Connections++
}

// refused counts an operation by a name of the protocol, of which there are few.
func (c *counter) refused(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.u.Refused == nil {
		c.u.Refused = map[string]int{}
	}
	c.u.Refused[name]++
}

func (c *counter) path(p nixwire.StorePath, from origin, size uint64) {
	if p.IsDerivation() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	n := map[origin]*Count{added: &c.u.Added, built: &c.u.Built, substituted: &c.u.Substituted, reused: &c.u.Reused}[from]
	n.Paths++
	n.Bytes += int64(min(size, 1<<50)) //nolint:gosec // bounded
}
