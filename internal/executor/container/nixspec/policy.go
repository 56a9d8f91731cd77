package nixspec

import "time"

// Policy says what of a store is collected, and when. The zero value: only what somebody asks for.
type Policy struct {
	// KeepFor is how long paths are kept that nothing holds, after their last use.
	KeepFor time.Duration `json:"keep_for,omitempty"`
	// MinFree bytes of the file system are to be free, or MinFreePercent of it; both 0: no matter how many.
	MinFree        int64   `json:"min_free,omitempty"`
	MinFreePercent float64 `json:"min_free_percent,omitempty"`
	// Every is how long it is between two collections; 0: only for want of space, and when asked.
	Every time.Duration `json:"every,omitempty"`
}

// Least is how many bytes are to be free of total.
func (p Policy) Least(total int64) int64 {
	if p.MinFreePercent > 0 {
		return int64(float64(total) * p.MinFreePercent / 100) //nolint:mnd // percent
	}
	return p.MinFree
}

// WantsSpace reports whether bytes are to be free at all.
func (p Policy) WantsSpace() bool { return p.MinFree > 0 || p.MinFreePercent > 0 }
