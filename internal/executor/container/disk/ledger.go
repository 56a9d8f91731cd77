package disk

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// maxEntries bounds the ledger: of more images or volumes those that were used last are remembered. A forgotten
// image is never evicted, a forgotten volume counts from its making.
const maxEntries = 4000

// ledger remembers what the runner has pulled and when jobs used what. It is not safe for concurrent use.
type ledger struct {
	path string
	data ledgerData
}

type ledgerData struct {
	Images map[string]*imageEntry `json:"images"` // by ID
	// Pulling are the pulls that are under way, by name, with the ID that the name had before: a runner that
	// is killed meanwhile finds out at its next start what came of them.
	Pulling map[string]string    `json:"pulling,omitempty"`
	Volumes map[string]time.Time `json:"volumes"` // by name: when a job had it last
}

type imageEntry struct {
	Used time.Time `json:"used"`
	// Refs are the names under which the runner has pulled it; none: it was there before, or loaded.
	Refs []string `json:"refs,omitempty"`
}

// openLedger reads the ledger at path, or begins it. One that cannot be understood is begun anew, and
// the error says so: then nothing that is there is evicted any more.
func openLedger(path string) (*ledger, error) {
	l := &ledger{path: path}
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	} else if err == nil {
		err = json.Unmarshal(raw, &l.data)
	}
	if err != nil {
		l.data = ledgerData{}
		err = fmt.Errorf("read the record of used images and volumes %s: %w", path, err)
	}
	d := &l.data
	if d.Images == nil {
		d.Images = map[string]*imageEntry{}
	}
	if d.Pulling == nil {
		d.Pulling = map[string]string{}
	}
	if d.Volumes == nil {
		d.Volumes = map[string]time.Time{}
	}
	maps.DeleteFunc(d.Images, func(_ string, i *imageEntry) bool { return i == nil })
	return l, err
}

// used notes that a job needs an image.
func (l *ledger) used(id string, now time.Time) *imageEntry {
	i := l.data.Images[id]
	if i == nil {
		i = &imageEntry{}
		l.data.Images[id] = i
	}
	i.Used = now
	return i
}

// pulled notes that a pull of ref, which was the image before, has brought the image after.
func (l *ledger) pulled(ref, before, after string, now time.Time) {
	delete(l.data.Pulling, ref)
	if after == "" {
		return
	}
	i := l.used(after, now)
	if after != before && !slices.Contains(i.Refs, ref) {
		i.Refs = append(i.Refs, ref)
	}
}

// keep forgets images and volumes that were not there any more at a time. What has been needed since may have come since.
func (l *ledger) keep(images, volumes map[string]bool, at time.Time) {
	maps.DeleteFunc(l.data.Images, func(id string, i *imageEntry) bool { return !images[id] && i.Used.Before(at) })
	maps.DeleteFunc(l.data.Volumes, func(name string, used time.Time) bool { return !volumes[name] && used.Before(at) })
}

// write replaces the file.
func (l *ledger) write() error {
	bound(l.data.Images, func(a, b *imageEntry) int { return a.Used.Compare(b.Used) })
	bound(l.data.Volumes, time.Time.Compare)
	raw, err := json.Marshal(l.data)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(l.path), 0o700)
	}
	if err == nil {
		err = os.WriteFile(l.path+".new", raw, 0o600)
	}
	if err == nil {
		err = os.Rename(l.path+".new", l.path)
	}
	if err != nil {
		return fmt.Errorf("write the record of used images and volumes: %w", err)
	}
	return nil
}

// bound forgets the least of m beyond maxEntries.
func bound[V any](m map[string]V, compare func(a, b V) int) {
	if len(m) <= maxEntries {
		return
	}
	names := slices.SortedFunc(maps.Keys(m), func(a, b string) int { return cmp.Or(compare(m[a], m[b]), cmp.Compare(a, b)) })
	for _, name := range names[:len(m)-maxEntries] {
		delete(m, name)
	}
}
