package disk

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Policy is how much may stay on the disk. The zero value keeps everything.
type Policy struct {
	// Bytes is what the runner's images, volumes and caches may occupy together; 0: as much as they like.
	Bytes int64 `json:"bytes,omitempty"`
	// Percent is how full the file system of a local engine may be, whatever occupies it; 0: full.
	Percent float64 `json:"percent,omitempty"`
	// VolumeTTL is after what time without a job a volume is removed; 0: never.
	VolumeTTL time.Duration `json:"volume_ttl,omitempty"`
}

// join is the policy of two runner entries that share an engine: the smaller budget and the longer time.
func (p Policy) join(q Policy) Policy {
	j := Policy{Bytes: least(p.Bytes, q.Bytes), Percent: least(p.Percent, q.Percent), VolumeTTL: max(p.VolumeTTL, q.VolumeTTL)}
	if p.VolumeTTL == 0 || q.VolumeTTL == 0 {
		j.VolumeTTL = 0
	}
	return j
}

func least[T int64 | float64](a, b T) T {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// limited reports whether there is a budget.
func (p Policy) limited() bool { return p.Bytes > 0 || p.Percent > 0 }

// space is a file system.
type space struct{ size, used int64 }

// over is how many bytes too many there are when own is what the runner's things occupy. margin is the
// share of the budget that is to be free besides.
func (p Policy) over(own int64, s space, margin float64) int64 {
	var over int64
	if p.Bytes > 0 {
		over = own - int64(float64(p.Bytes)*(1-margin))
	}
	if p.Percent > 0 && s.size > 0 {
		over = max(over, s.used-int64(float64(s.size)*(p.Percent/100-margin)))
	}
	return max(over, 0)
}

// measure looks at the file system that holds dir.
func measure(dir string) (space, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return space{}, fmt.Errorf("look at the file system of %s: %w", dir, err)
	}
	block := st.Bsize
	used := int64(st.Blocks-st.Bfree) * block //nolint:gosec // far below
	// What only root may use does not count: df says the same.
	return space{size: used + int64(st.Bavail)*block, used: used}, nil //nolint:gosec // far below
}
