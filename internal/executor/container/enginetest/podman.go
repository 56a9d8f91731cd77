package enginetest

import (
	"io"
	"testing"

	"gitlab.com/skerry/skerry/internal/image/podmantest"
)

// PodmanImage gives the engine the image of nested engines, unless it has that, and returns its name.
func (e Engine) PodmanImage(t *testing.T) string {
	t.Helper()
	p, err := podmantest.New(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	defer e.loadAlone(t)()
	api := e.Client(t)
	if _, err := api.ImageInspect(t.Context(), p.Name); err == nil {
		return p.Name
	}
	r, w := io.Pipe()
	go func() { _ = w.CloseWithError(p.Write(w)) }()
	answer, err := api.ImageLoad(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Close()
	if _, err := io.Copy(io.Discard, answer); err != nil {
		t.Fatal(err)
	}
	return p.Name
}
