package nested

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"gitlab.com/skerry/skerry/internal/agent/nested/kept"
)

// Bound is how much a job's own engine may keep on disk; the zero Bound is any amount.
type Bound struct {
	Bytes   int64   `json:"bytes,omitempty"`
	Percent float64 `json:"percent,omitempty"` // of what is free and what the engine itself keeps: what there were without it
}

// fileBytes is what a file counts at least, on average: file systems that make their inodes beforehand have one for so many
// bytes. Source: mke2fs.conf(5), inode_ratio.
const fileBytes = 16 << 10

// leastFree is what the file system is to have left at least, whatever is allowed: where nothing is left every job fails, and what an engine
// hides from being counted is gone with it.
const leastFree = 16 << 20

// A share ends no engine that keeps a little while others have left so much free: it is no reason that they have filled the disk. Files count
// as for a size.
const (
	littleKept = 4 << 30
	enoughFree = 1 << 30
)

// String is the bound as the configuration has it, and as ParseBound reads it.
func (b Bound) String() string {
	switch {
	case b.Percent > 0:
		return strconv.FormatFloat(b.Percent, 'f', -1, 64) + "%"
	case b.Bytes > 0:
		return strconv.FormatInt(b.Bytes, 10)
	default:
		return ""
	}
}

// ParseBound reads what String has written.
func ParseBound(s string) (Bound, error) {
	number, share := strings.CutSuffix(s, "%")
	n, err := strconv.ParseFloat(number, 64)
	if err != nil || !(n > 0) || n > math.MaxInt64/2 {
		return Bound{}, fmt.Errorf("the bound %q of what an engine keeps is neither bytes nor a share", s)
	}
	if share {
		return Bound{Percent: n}, nil
	}
	return Bound{Bytes: int64(n)}, nil
}

// full reports whether nothing is left where an engine keeps, or may keep, used.
func full(used, free kept.Size) bool { return free.Bytes < leastFree && used.Bytes > 0 }

// exceeded reports whether an engine that keeps used keeps too much where free is free. No files are free where a file system
// makes as many as there is room for.
func (b Bound) exceeded(used, free kept.Size) bool {
	if full(used, free) {
		return true
	}
	if b.Percent > 0 {
		over := func(used, free, unit int64) bool {
			return float64(used) > b.Percent/100*float64(used+free) && (used > littleKept/unit || free < enoughFree/unit)
		}
		return over(used.Bytes, free.Bytes, 1) || free.Files > 0 && over(used.Files, free.Files, fileBytes)
	}
	return max(used.Bytes, used.Files*fileBytes) > b.Bytes
}

// words say what was kept and what may be.
func (b Bound) words(used, free kept.Size) string {
	if free.Bytes < leastFree {
		return fmt.Sprintf("it kept %s in %d files when they were counted, and its file system is full: %s are left", size(used.Bytes), used.Files, size(free.Bytes))
	}
	return fmt.Sprintf("it kept %s in %d files, and %s are free: that is more than %s", size(used.Bytes), used.Files, size(free.Bytes), b.setting())
}

// setting is the bound as the configuration has it, explained.
func (b Bound) setting() string {
	if b.Percent > 0 {
		return fmt.Sprintf("nested_disk = %q in the runner's [runners.docker] allows, that share of what is free and what it keeps", b.String())
	}
	return fmt.Sprintf("nested_disk in the runner's [runners.docker] allows, %s (with %s at least for each file, on average)", size(b.Bytes), size(fileBytes))
}

// size is a number of bytes for people.
func size(n int64) string {
	f, i := float64(n), -1
	for ; f >= 1024 && i < 4; i++ {
		f /= 1024
	}
	if i < 0 {
		return strconv.FormatInt(n, 10) + " B"
	}
	return strconv.FormatFloat(f, 'f', 1, 64) + " " + string("KMGTP"[i]) + "iB"
}
