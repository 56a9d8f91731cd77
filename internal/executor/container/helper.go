package container

import (
	"context"
	"fmt"
	"io"
	"sync"

	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
	"gitlab.com/skerry/skerry/internal/image"
)

// helpers finds the image of the helper place where the configuration names none: one engine, one image,
// looked for and, where need be, assembled once.
type helpers struct {
	mu  sync.Mutex
	ref string
}

// find returns the name of a helper image that the engine has or can pull. Lines for the job's author go to out.
func (h *helpers) find(ctx context.Context, engine *engineapi.Engine, out io.Writer) (string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ref != "" {
		if _, err := engine.Image(ctx, h.ref); err == nil || !engineapi.IsAbsent(err) {
			return h.ref, err
		}
	}
	ref, err := assemble(ctx, engine, out)
	if err != nil {
		public := image.PublicHelper(engine.Arch)
		if public == "" {
			return "", fmt.Errorf("%w; set `helper_image` in [runners.docker] to an image with git for %s", err, engine.Arch)
		}
		fmt.Fprintf(out, "No helper image could be assembled here (%v): using %s\n", err, public)
		ref = public
	}
	h.ref = ref
	return ref, nil
}

// assemble makes the helper image of this machine's own git, unless the engine has it.
func assemble(ctx context.Context, engine *engineapi.Engine, out io.Writer) (string, error) {
	made, err := image.NewHelper(ctx)
	if err != nil {
		return "", err
	}
	if made.Arch != engine.Arch {
		return "", fmt.Errorf("the engine runs on %s, this machine on %s", engine.Arch, made.Arch)
	}
	if _, err := engine.Image(ctx, made.Ref); err == nil || !engineapi.IsAbsent(err) {
		return made.Ref, err
	}
	fmt.Fprintf(out, "Assembling the helper image %s from this machine's git, once...\n", made.Ref)
	return made.Ref, engine.Load(ctx, made.Write)
}
