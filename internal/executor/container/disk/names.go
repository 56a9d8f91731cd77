package disk

import (
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
)

// canonical is the full name of an image, whatever way it is written in; an ID stays as it is.
func canonical(ref string) string {
	r, err := name.ParseReference(ref, name.WeakValidation)
	if err != nil {
		return ref
	}
	return r.Name()
}

// refs is a set of names of images.
type refs map[string]bool

func newRefs(names ...string) refs {
	s := refs{}
	for _, n := range names {
		s[n] = true
		s[canonical(n)] = true
	}
	return s
}

// has reports whether the set has a name of ref, however it is written.
func (s refs) has(ref string) bool { return s[ref] || s[canonical(ref)] }

// holds reports whether the set has a name of the image, or the beginning of its ID.
func (s refs) holds(i engineapi.StoredImage, more []string) bool {
	for _, list := range [][]string{i.Tags, i.Digests, more} {
		for _, n := range list {
			if s.has(n) {
				return true
			}
		}
	}
	id := strings.TrimPrefix(i.ID, "sha256:")
	for n := range s {
		if short := strings.TrimPrefix(n, "sha256:"); len(short) >= 12 && strings.HasPrefix(id, short) {
			return true
		}
	}
	return false
}
