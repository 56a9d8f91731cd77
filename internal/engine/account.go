package engine

import (
	"fmt"
	"math"
	"strings"
	"sync"
	"time"

	"gitlab.com/skerry/skerry/internal/job"
	"gitlab.com/skerry/skerry/internal/stage"
)

// account is what a job has used, as its agents say. Agents may lie, and an older one says nothing.
type account struct {
	mu      sync.Mutex
	places  map[string]stage.Usage // the most that each has said
	fetched int64                  // by git
	caches  []stage.CacheResult
}

// maxPlaces is how many places are told apart: an agent may claim any number.
const maxPlaces = 8

// add notes what a stage's result says.
func (a *account) add(name job.StageName, res stage.Result) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if name == job.StageRestoreCache {
		a.caches = res.Caches
	}
	u := res.Usage
	if u == nil {
		return
	}
	if name == job.StageGetSources {
		a.fetched = u.Fetched
	}
	had, known := a.places[u.Place]
	if !known && len(a.places) == maxPlaces {
		return
	}
	if a.places == nil {
		a.places = map[string]stage.Usage{}
	}
	a.places[u.Place] = stage.Usage{
		CPU: max(had.CPU, u.CPU), Memory: max(had.Memory, u.Memory), Limit: max(had.Limit, u.Limit),
	}
}

// words are the account in one line. wall is how long the job took, artifacts how many bytes of those were downloaded.
func (a *account) words(wall time.Duration, artifacts int64) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	parts := []string{round(wall) + " wall time"}
	var most stage.Usage
	var cpu time.Duration
	for _, u := range a.places {
		cpu += u.CPU
		if u.Memory > most.Memory {
			most = u
		}
	}
	if cpu > 0 {
		parts = append(parts, round(cpu)+" CPU time")
	}
	if most.Memory > 0 {
		parts = append(parts, "peak memory "+bytes(most.Memory)+limitWords(most.Limit))
	}
	if len(a.places) > 0 {
		parts = append(parts, fetchedWords(a.fetched, artifacts))
	}
	if len(a.caches) > 0 {
		parts = append(parts, cacheWords(a.caches))
	}
	return strings.Join(parts, ", ")
}

func limitWords(limit int64) string {
	if limit <= 0 {
		return ""
	}
	return " of " + bytes(limit)
}

func fetchedWords(sources, artifacts int64) string {
	s := "fetched " + bytes(sources+artifacts)
	if sources > 0 && artifacts > 0 {
		s += fmt.Sprintf(" (sources %s, artifacts %s)", bytes(sources), bytes(artifacts))
	}
	return s
}

func cacheWords(caches []stage.CacheResult) string {
	hits, size := 0, int64(0)
	for _, c := range caches {
		if c.Hit {
			hits, size = hits+1, size+clamp(c.Bytes)
		}
	}
	switch {
	case hits == 0:
		return "cache miss"
	case hits == len(caches):
		return "cache hit (" + bytes(size) + ")"
	default:
		return fmt.Sprintf("cache hit %d of %d (%s)", hits, len(caches), bytes(size))
	}
}

// round shows a time with about three digits.
func round(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	default:
		return d.Round(time.Second).String()
	}
}

// bytes shows a size with a binary unit.
func bytes(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	f, i := float64(n), 0
	for ; f >= 1024 && i < len(units)-1; i++ {
		f /= 1024
	}
	if i == 0 || f >= 100 {
		return fmt.Sprintf("%.0f %s", math.Trunc(f), units[i])
	}
	return fmt.Sprintf("%.1f %s", f, units[i])
}

// clamp bounds a size that an agent claims.
func clamp(n int64) int64 { return min(max(n, 0), maxArchive) }

// claimedUsage is what an agent says of what was used, within bounds.
func claimedUsage(u *stage.Usage) *stage.Usage {
	if u == nil {
		return nil
	}
	return &stage.Usage{
		Place: words(u.Place, maxHost), CPU: min(max(u.CPU, 0), maxCPU), Memory: clamp(u.Memory), Limit: clamp(u.Limit),
		OOMKills: min(max(u.OOMKills, 0), math.MaxInt32), Fetched: clamp(u.Fetched),
	}
}

// maxCPU bounds the CPU time that an agent claims.
const maxCPU = 100_000 * time.Hour

// memoryWords say that a stage's processes were killed for want of memory; empty when they were not.
func memoryWords(u *stage.Usage) string {
	if u == nil || u.OOMKills == 0 {
		return ""
	}
	s := ": out of memory: the kernel killed a process of the job"
	switch {
	case u.Limit > 0:
		return s + fmt.Sprintf(" (limit %s, peak %s)", bytes(u.Limit), bytes(u.Memory))
	case u.Memory > 0:
		return s + fmt.Sprintf(" (peak %s)", bytes(u.Memory))
	default:
		return s
	}
}

// writeAccount writes what the job has used into its log.
func (x *execution) writeAccount() {
	var artifacts int64
	if x.planErr == nil {
		if st, downloads := x.plan.Downloads(); x.trace.Has(key(st, "fetched")) {
			for _, d := range downloads {
				artifacts += clamp(d.Job.Size)
			}
		}
	}
	x.note("account", "Job account: "+x.account.words(x.clock.elapsed(), artifacts))
}
