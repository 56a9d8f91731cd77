package container

import (
	"io"
	"net/http"
	"slices"
	"testing"

	"github.com/moby/moby/api/types/mount"

	"gitlab.com/skerry/skerry/internal/executor/container/carrier"
	"gitlab.com/skerry/skerry/internal/executor/container/generations"
)

// TestBrokenImages are offered to no job any more when a job's engine does not come up with them, and does without: of a machine that lost power,
// say. What keeps an engine from coming up in any case costs nobody the images.
func TestBrokenImages(t *testing.T) {
	t.Parallel()
	offered := func(c *fakeContainer) bool {
		return slices.ContainsFunc(c.made.Mounts, func(m mount.Mount) bool { return m.Target == nestedImages })
	}
	fails := func(which func(*fakeContainer) bool) func(*fakeContainer) bool {
		return func(c *fakeContainer) bool { c.exit = 125; return which(c) }
	}
	for name, c := range map[string]struct {
		ends   func(*fakeContainer) bool
		denies bool // it answers that it cannot read what is offered
		up     bool
		kept   bool
	}{
		"whole":                    {up: true, kept: true},
		"broken":                   {ends: fails(offered), up: true},
		"not to be read":           {denies: true, up: true},
		"something else is broken": {ends: fails(func(*fakeContainer) bool { return true }), kept: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, e := offering(t)
			v := draws(t, e)
			v.fresh, v.b.fresh, v.b.Network = true, true, "none"
			v.b.Agent = &carrier.Way{}
			f.ends = c.ends
			f.nested = func(w http.ResponseWriter, r *http.Request) {
				if c.denies && r.URL.Path != "/_ping" {
					w.WriteHeader(http.StatusInternalServerError)
				}
				_, _ = io.WriteString(w, "[]")
			}
			volume := v.b.Nested.Domain + "-00000000000000aa"
			dom := v.b.Nested.Domain
			f.volumes[volume] = map[string]string{labelPart: partImages}
			if err := e.generations().Write(dom, generations.Record{Volume: volume}); err != nil {
				t.Fatal(err)
			}
			if err := v.openNested(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := v.startNested(t.Context(), thePodman); (err == nil) != c.up {
				t.Errorf("the job's engine: %v", err)
			}
			g, err := e.generations().Read(dom)
			if _, there := f.volumes[volume]; err != nil || there != c.kept || (g.Volume == volume) != c.kept {
				t.Errorf("the images are there: %v; offered is %q (%v)", there, g.Volume, err)
			}
			if at := f.get(v.b.Nested.Name); at == nil || c.up && offered(at) != c.kept {
				t.Errorf("the engine is %+v", at)
			}
		})
	}
}
