package container

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
	"gitlab.com/skerry/skerry/internal/image"
)

// helpers finds the image of the helper place where the configuration names none: one engine, one image,
// looked for and, where need be, assembled once.
type helpers struct {
	mu   sync.Mutex
	ref  string
	made *engineapi.Image // what was assembled here, as the engine had it at seen; nil: ref is pulled
	seen time.Time
}

// lookAgain is how long an assembled image is taken to be there. Its name has the hash of what is in it, containers
// are made of its id, and one that went meanwhile is found out when they are.
const lookAgain = time.Minute

// find returns the name of a helper image, and the image where it was assembled here; one that was not has to be
// pulled, unless the engine has it. gone says that the one which was returned before is not there any more. Lines for
// the job's author go to out.
func (h *helpers) find(ctx context.Context, engine *engineapi.Engine, gone bool, out io.Writer) (string, *engineapi.Image, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.made != nil && !gone && time.Since(h.seen) < lookAgain {
		return h.ref, h.made, nil
	}
	if h.ref != "" {
		i, err := engine.Image(ctx, h.ref)
		if err == nil && h.made != nil {
			h.made, h.seen = i, time.Now()
		}
		if err == nil || !engineapi.IsAbsent(err) {
			return h.ref, h.made, err
		}
	}
	made, err := assemble(ctx, engine, out)
	if err == nil {
		h.ref, h.made, h.seen = made.ref, made.image, time.Now()
		return h.ref, h.made, nil
	}
	public := image.PublicHelper(engine.Arch)
	if public == "" {
		return "", nil, fmt.Errorf("%w; set `helper_image` in [runners.docker] to an image with git for %s", err, engine.Arch)
	}
	fmt.Fprintf(out, "No helper image could be assembled here (%v): using %s\n", err, public)
	h.ref, h.made = public, nil
	return public, nil, nil
}

// assembled is the helper image of this machine's own git.
type assembled struct {
	ref   string
	image *engineapi.Image
}

// assemble makes it, unless the engine has it.
func assemble(ctx context.Context, engine *engineapi.Engine, out io.Writer) (assembled, error) {
	made, err := image.NewHelper(ctx)
	if err != nil {
		return assembled{}, err
	}
	if made.Arch != engine.Arch {
		return assembled{}, fmt.Errorf("the engine runs on %s, this machine on %s", engine.Arch, made.Arch)
	}
	i, err := engine.Image(ctx, made.Ref)
	if err == nil || !engineapi.IsAbsent(err) {
		return assembled{made.Ref, i}, err
	}
	fmt.Fprintf(out, "Assembling the helper image %s from this machine's git, once...\n", made.Ref)
	if err := engine.Load(ctx, made.Write); err != nil {
		return assembled{}, err
	}
	i, err = engine.Image(ctx, made.Ref)
	return assembled{made.Ref, i}, err
}
