package engineapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/moby/moby/client"
)

// Image is what the executor has to know of an image that the engine has.
type Image struct {
	ID         string
	Tags       []string
	Digests    []string // RepoDigests: "name@sha256:…"
	Entrypoint []string
	Cmd        []string
	User       string
	Env        []string
	Ports      []string // exposed: "6379/tcp"
	Volumes    []string
	Labels     map[string]string
	OS, Arch   string
	Size       int64
}

// Image looks for an image among those that the engine has; IsAbsent tells that it has none.
func (e *Engine) Image(ctx context.Context, ref string) (*Image, error) {
	var r client.ImageInspectResult
	err := e.again(ctx, func(ctx context.Context) (err error) {
		r, err = e.c.ImageInspect(ctx, ref)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("inspect image %q: %w", ref, err)
	}
	i := &Image{ID: r.ID, Tags: named(r.RepoTags), Digests: r.RepoDigests, OS: r.Os, Arch: r.Architecture, Size: r.Size}
	if c := r.Config; c != nil {
		i.Entrypoint, i.Cmd, i.User, i.Env, i.Labels = c.Entrypoint, c.Cmd, c.User, c.Env, c.Labels
		for p := range c.ExposedPorts {
			i.Ports = append(i.Ports, p)
		}
		for v := range c.Volumes {
			i.Volumes = append(i.Volumes, v)
		}
	}
	return i, nil
}

// Progress is one message of a pull.
type Progress struct {
	Layer          string // empty: about the whole image
	Status         string
	Current, Total int64 // bytes; 0 unknown
}

// Pull brings an image from its registry. auth is the base64url JSON of X-Registry-Auth, empty for none;
// platform ("linux/arm64") is empty for the engine's own. progress is called for each message, one at a time.
func (e *Engine) Pull(ctx context.Context, ref, auth string, o client.ImagePullOptions, progress func(Progress)) error {
	e.calls.Add(1)
	o.RegistryAuth = auth
	r, err := e.c.ImagePull(ctx, ref, o)
	if err != nil {
		return fmt.Errorf("pull image %q: %w", ref, err)
	}
	defer r.Close()
	for m, err := range r.JSONMessages(ctx) {
		if err == nil && m.Error != nil {
			err = m.Error
		}
		if err != nil {
			return fmt.Errorf("pull image %q: %w", ref, err)
		}
		p := Progress{Layer: m.ID, Status: m.Status}
		if m.Progress != nil {
			p.Current, p.Total = m.Progress.Current, m.Progress.Total
		}
		progress(p)
	}
	return nil
}

// Load gives the engine an image as an archive such as `docker save` writes, which write writes as it is sent.
func (e *Engine) Load(ctx context.Context, write func(io.Writer) error) error {
	archive, w := io.Pipe()
	wrote := make(chan error, 1)
	go func() {
		err := write(w)
		_ = w.CloseWithError(err)
		wrote <- err
	}()
	err := e.load(ctx, archive)
	_ = archive.CloseWithError(errTransferEnded)
	if werr := <-wrote; werr != nil && !errors.Is(werr, errTransferEnded) {
		err = errors.Join(werr, err)
	}
	if err != nil {
		return fmt.Errorf("load an image: %w", err)
	}
	return nil
}

var errTransferEnded = errors.New("the engine has ended the transfer")

// load sends an archive. Docker tells of what goes wrong in an answer that says at first that all is well.
func (e *Engine) load(ctx context.Context, archive io.Reader) error {
	e.calls.Add(1)
	r, err := e.c.ImageLoad(ctx, archive)
	if err != nil {
		return err
	}
	defer r.Close()
	for d := json.NewDecoder(r); ; {
		var m struct {
			Error string `json:"error"`
		}
		if err := d.Decode(&m); err != nil {
			_, err = io.Copy(io.Discard, r) // words that are no message
			return err
		}
		if m.Error != "" {
			return errors.New(m.Error)
		}
	}
}

// Save reads an image that the engine has, as an archive that Load takes. The caller closes it. IsAbsent tells that there
// is no such image.
func (e *Engine) Save(ctx context.Context, ref string) (io.ReadCloser, error) {
	e.calls.Add(1)
	r, err := e.c.ImageSave(ctx, []string{ref})
	if err != nil {
		return nil, fmt.Errorf("save image %q: %w", ref, err)
	}
	return r, nil
}
