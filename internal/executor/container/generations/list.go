package generations

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/distribution/reference"
)

// What an engine of a job may say of its images: it is the job's word, and kept in memory.
const (
	listBytes  = 2 << 20
	listImages = 4096
)

// What one generation is at most: MaxBytes of images, by what the job's engine says, and so many names.
const (
	MaxBytes = 4 << 30
	maxNames = 100
)

// Image is an image as a nested engine lists it. Source: docs.podman.io, libpod API, ImageListLibpod.
type Image struct {
	ID       string   `json:"Id"`
	Tags     []string `json:"RepoTags"`
	Size     int64    `json:"Size"`
	ReadOnly bool     `json:"ReadOnly"` // of the generation
	List     bool     `json:"IsManifestList"`
}

var errMany = fmt.Errorf("it lists more than %d images, or says more than %d KiB about them", listImages, listBytes>>10)

// ReadList reads a list of images as the API answers it, one after the other, and no more than a runner may keep of a job's words.
func ReadList(in io.Reader) (all []Image, err error) {
	d := json.NewDecoder(io.LimitReader(in, listBytes))
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	if t != json.Delim('[') {
		return nil, fmt.Errorf("it is no list but begins with %.40v", t)
	}
	for d.More() {
		if len(all) == listImages {
			return nil, errMany
		}
		var i Image
		if err := d.Decode(&i); errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
			return nil, errors.Join(errMany, err)
		} else if err != nil {
			return nil, err
		}
		all = append(all, i)
	}
	if _, err := d.Token(); err != nil {
		return nil, errors.Join(errMany, err)
	}
	return all, nil
}

// Selection are images to be offered.
type Selection struct {
	Names []string
	Size  int64 // bytes of all, by what the job's engine says
	Fresh bool  // one of them is not offered already
}

// Select selects what is to be offered: those of the job itself first, each image whole or not at all but for its names.
func Select(all []Image) (s Selection) {
	offered, weighed, taken := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, i := range all {
		offered[i.ID] = offered[i.ID] || i.ReadOnly
	}
	for _, old := range []bool{false, true} {
		for _, i := range all {
			if i.ReadOnly != old || i.List || i.Size < 0 || !weighed[i.ID] && i.Size > MaxBytes-s.Size {
				continue
			}
			for _, tag := range i.Tags {
				if taken[tag] || len(s.Names) >= maxNames || !isTag(tag) {
					continue
				}
				taken[tag] = true
				s.Names = append(s.Names, tag)
				s.Fresh = s.Fresh || !offered[i.ID]
				if !weighed[i.ID] {
					weighed[i.ID] = true
					s.Size += i.Size
				}
			}
		}
	}
	return s
}

// CheckLoaded compares the names that an engine says it has read with those that it was to read. Source: docs.podman.io, libpod API, ImageLoadLibpod.
func CheckLoaded(answer io.Reader, want []string) error {
	var said struct{ Names []string }
	if err := json.NewDecoder(io.LimitReader(answer, listBytes)).Decode(&said); err != nil {
		return fmt.Errorf("copy the images of a job's own engine: %w", err)
	}
	has := map[string]bool{}
	for _, name := range said.Names {
		has[name] = true
	}
	for _, name := range want {
		if !has[name] {
			return fmt.Errorf("copy the images of a job's own engine: %q is not among the %d that were read", name, len(has))
		}
	}
	if len(has) > len(want) {
		return fmt.Errorf("copy the images of a job's own engine: %d names were read that were to be %d", len(has), len(want))
	}
	return nil
}

// isTag reports whether a name of an image is one of a repository with a tag, as a registry is asked for it.
func isTag(name string) bool {
	r, err := reference.ParseNamed(name)
	if err != nil {
		return false
	}
	_, tagged := r.(reference.Tagged)
	return tagged
}
