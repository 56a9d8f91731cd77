// Package disk keeps what jobs leave on a container engine's disk within a budget: images that the
// runner has pulled, volumes that it has made, and archives of caches in these. What has not been used for the
// longest time goes first, and never what a job uses. All of it is done beside the jobs.
package disk

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Kind is what can be evicted.
type Kind string

// The kinds.
const (
	Image   Kind = "image"
	Volume  Kind = "volume"
	Archive Kind = "cache" // an archive of a cache in a volume
)

// Item is a thing on the engine's disk that may be evicted.
type Item struct {
	Kind Kind
	Name string    // an image's ID, a volume's name, an archive's path in its volume
	In   string    // the volume that an archive is in
	Root string    // and the directory of this machine where that is
	Show string    // for people; empty: Name
	Size int64     // bytes that its removal frees
	Used time.Time // when a job needed it last

	pinned bool // it counts, and is not evicted
}

// String names the item for people.
func (i Item) String() string {
	if i.In != "" {
		return i.In + ":" + i.Name
	}
	return cmp.Or(i.Show, i.Name)
}

// order sorts items as they are to be evicted: the longest unused first, of those that were used at
// the same time the largest. An archive goes before the volume that holds it.
func order(items []Item) []Item {
	items = slices.DeleteFunc(slices.Clone(items), func(i Item) bool { return i.pinned })
	slices.SortFunc(items, func(a, b Item) int {
		return cmp.Or(
			a.Used.Compare(b.Used),
			cmp.Compare(b.Size, a.Size),
			strings.Compare(a.String(), b.String()),
		)
	})
	return items
}

// expired are the volumes that no job has used for ttl; none when ttl is 0.
func expired(items []Item, ttl time.Duration, now time.Time) []Item {
	if ttl <= 0 {
		return nil
	}
	return order(slices.DeleteFunc(slices.Clone(items), func(i Item) bool { return i.Kind != Volume || now.Sub(i.Used) < ttl }))
}

// total is what items occupy.
func total(items []Item) (bytes int64) {
	for _, i := range items {
		bytes += i.Size
	}
	return bytes
}

// noPrune are the labels by which somebody asks that an image or volume is kept.
var noPrune = [...]string{"com.gitlab.skerry.no-prune", "no-prune"} //nolint:gochecknoglobals // constant

// keeps reports whether labels ask to keep what carries them. A label without a value does, too.
func keeps(labels map[string]string) bool {
	for _, name := range noPrune {
		if v, ok := labels[name]; ok && !slices.Contains([]string{"false", "0", "no"}, strings.ToLower(v)) {
			return true
		}
	}
	return false
}
