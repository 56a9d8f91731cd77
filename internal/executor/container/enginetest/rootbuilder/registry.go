package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// login is the value of Authorization for a registry, by the file that kaniko reads it from; empty: there is none.
func login(registry string) string {
	raw, err := os.ReadFile(filepath.Join(os.Getenv("DOCKER_CONFIG"), "config.json"))
	if err != nil {
		return ""
	}
	var c struct {
		Auths map[string]struct{ Auth, Username, Password string }
	}
	if json.Unmarshal(raw, &c) != nil {
		return ""
	}
	a, ok := c.Auths[registry]
	switch {
	case !ok:
		return ""
	case a.Auth != "":
		return "Basic " + a.Auth
	}
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(a.Username+":"+a.Password))
}

// ask asks the registry of a repository; path is what follows its name.
func (b *builder) ask(r name.Repository, method, path, media string, body []byte) ([]byte, error) {
	url := fmt.Sprintf("%s://%s/v2/%s/%s", r.Scheme(), r.RegistryStr(), r.RepositoryStr(), path)
	q, err := http.NewRequestWithContext(b.ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if l := login(r.RegistryStr()); l != "" {
		q.Header.Set("Authorization", l)
	}
	if media != "" {
		q.Header.Set("Content-Type", media)
	}
	res, err := http.DefaultClient.Do(q)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode/100 != 2 {
		err = fmt.Errorf("%s %s: %s: %s", method, url, res.Status, strings.TrimSpace(string(answer)))
	}
	return answer, err
}

// pull is an image with all of its layers in memory.
func (b *builder) pull(image string) (v1.Image, error) {
	ref, err := name.ParseReference(image, b.names...)
	if err != nil {
		return nil, err
	}
	raw, err := b.ask(ref.Context(), http.MethodGet, "manifests/"+ref.Identifier(), "", nil)
	if err != nil {
		return nil, err
	}
	m, err := v1.ParseManifest(bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	raw, err = b.ask(ref.Context(), http.MethodGet, "blobs/"+m.Config.Digest.String(), "", nil)
	if err != nil {
		return nil, err
	}
	config, err := v1.ParseConfigFile(bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	img := empty.Image
	for _, l := range m.Layers {
		blob, err := b.ask(ref.Context(), http.MethodGet, "blobs/"+l.Digest.String(), "", nil)
		if err != nil {
			return nil, err
		}
		layer, err := layerOf(blob)
		if err == nil {
			img, err = mutate.AppendLayers(img, layer)
		}
		if err != nil {
			return nil, err
		}
	}
	return mutate.Config(img, config.Config)
}

func layerOf(blob []byte) (v1.Layer, error) {
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(blob)), nil })
}

// push gives the registry the image.
func (b *builder) push(to string) error {
	ref, err := name.ParseReference(to, b.names...)
	if err != nil {
		return err
	}
	layers, err := b.image.Layers()
	if err != nil {
		return err
	}
	for _, l := range layers {
		body, err := l.Compressed()
		if err != nil {
			return err
		}
		blob, err := io.ReadAll(body)
		if err == nil {
			err = b.pushBlob(ref.Context(), l.Digest, blob)
		}
		if err != nil {
			return err
		}
	}
	config, err := b.image.RawConfigFile()
	if err == nil {
		err = b.pushBlob(ref.Context(), b.image.ConfigName, config)
	}
	if err != nil {
		return err
	}
	manifest, err := b.image.RawManifest()
	if err != nil {
		return err
	}
	media, err := b.image.MediaType()
	if err == nil {
		_, err = b.ask(ref.Context(), http.MethodPut, "manifests/"+ref.Identifier(), string(media), manifest)
	}
	return err
}

func (b *builder) pushBlob(r name.Repository, digest func() (v1.Hash, error), blob []byte) error {
	d, err := digest()
	if err == nil {
		_, err = b.ask(r, http.MethodPost, "blobs/uploads/?digest="+d.String(), "application/octet-stream", blob)
	}
	return err
}
