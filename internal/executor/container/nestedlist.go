package container

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/distribution/reference"
)

// What an engine of a job may say of its images: it is the job's word, and kept in memory.
const (
	listBytes  = 2 << 20
	listImages = 4096
)

// storedImage is an image as a nested engine lists it. Source: docs.podman.io, libpod API, ImageListLibpod.
type storedImage struct {
	ID       string   `json:"Id"`
	Tags     []string `json:"RepoTags"`
	Size     int64    `json:"Size"`
	ReadOnly bool     `json:"ReadOnly"` // of the generation
	List     bool     `json:"IsManifestList"`
}

var errManyImages = fmt.Errorf("it lists more than %d images, or says more than %d KiB about them", listImages, listBytes>>10)

func (v *environment) listImages(ctx context.Context) ([]storedImage, error) {
	r, err := v.callNested(ctx, http.MethodGet, "/v4.0.0/libpod/images/json", nil)
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	all, err := readImages(r.Body)
	if err != nil {
		return nil, fmt.Errorf("list the images of the job's own engine: %w", err)
	}
	return all, nil
}

// readImages reads a list of images, one after the other.
func readImages(in io.Reader) (all []storedImage, err error) {
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
			return nil, errManyImages
		}
		var i storedImage
		if err := d.Decode(&i); errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
			return nil, errors.Join(errManyImages, err)
		} else if err != nil {
			return nil, err
		}
		all = append(all, i)
	}
	if _, err := d.Token(); err != nil {
		return nil, errors.Join(errManyImages, err)
	}
	return all, nil
}

// selection are images to be offered.
type selection struct {
	Names []string
	Size  int64 // bytes of all, by what the job's engine says
	Fresh bool  // one of them is not offered already
}

// selectImages selects what is to be offered: those of the job itself first, each image whole or not at all but for its names.
func selectImages(all []storedImage) (s selection) {
	offered, weighed, taken := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, i := range all {
		offered[i.ID] = offered[i.ID] || i.ReadOnly
	}
	for _, old := range []bool{false, true} {
		for _, i := range all {
			if i.ReadOnly != old || i.List || i.Size < 0 || !weighed[i.ID] && i.Size > offerBytes-s.Size {
				continue
			}
			for _, tag := range i.Tags {
				if taken[tag] || len(s.Names) >= offerImages || !isTag(tag) {
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

// isTag reports whether a name of an image is one of a repository with a tag, as a registry is asked for it.
func isTag(name string) bool {
	r, err := reference.ParseNamed(name)
	if err != nil {
		return false
	}
	_, tagged := r.(reference.Tagged)
	return tagged
}
