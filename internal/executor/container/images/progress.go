package images

import (
	"fmt"
	"sync"

	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
)

// tally adds up the messages of a pull.
type tally struct {
	mu     sync.Mutex
	layers map[string]*layer
}

type layer struct {
	current, total int64 // bytes, of the download
	arrived, done  bool  // downloaded; unpacked, or there before
}

func (t *tally) add(p engineapi.Progress) {
	if p.Layer == "" {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.layers[p.Layer]
	switch p.Status {
	case "Pulling fs layer", "Waiting", "Downloading", "Extracting", "Verifying Checksum":
		if l == nil {
			l = &layer{}
			if t.layers == nil {
				t.layers = map[string]*layer{}
			}
			t.layers[p.Layer] = l
		}
		if p.Status == "Downloading" {
			l.current, l.total = p.Current, max(p.Total, l.total)
		}
	case "Download complete":
		if l != nil {
			l.arrived, l.current = true, l.total
		}
	case "Pull complete":
		if l != nil {
			l.arrived, l.done, l.current = true, true, l.total
		}
	}
}

// fetched is how many bytes have come.
func (t *tally) fetched() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	var n int64
	for _, l := range t.layers {
		n += l.current
	}
	return n
}

// String is "12.0 MiB of 45.1 MiB, 3 of 7 layers"; empty before there is anything to tell.
func (t *tally) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.layers) == 0 {
		return ""
	}
	var current, total int64
	arrived, done := 0, 0
	for _, l := range t.layers {
		current, total = current+l.current, total+l.total
		if l.arrived {
			arrived++
		}
		if l.done {
			done++
		}
	}
	if total == 0 {
		return fmt.Sprintf("%d of %d layers", done, len(t.layers))
	}
	if arrived == len(t.layers) {
		return fmt.Sprintf("%s downloaded, unpacking: %d of %d layers", size(total), done, len(t.layers))
	}
	return fmt.Sprintf("%s of %s, %d of %d layers", size(current), size(total), arrived, len(t.layers))
}

func size(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.2f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	default:
		return fmt.Sprintf("%d KiB", (n+1023)>>10)
	}
}
