package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"gitlab.com/skerry/skerry/internal/control"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
	"gitlab.com/skerry/skerry/internal/nixstore/nixtest"
)

// loadNix gives the engine an image with Nix, and returns its name.
func (e containerEngine) loadNix(ctx context.Context) (string, error) {
	const ref = "docker.io/skerry/bench-nix:latest"
	if e.command(ctx, nil, "image", "inspect", ref) == nil {
		return ref, nil
	}
	path, err := nixtest.Archive(ctx, "trixie")
	if err != nil {
		return "", err
	}
	archive, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer archive.Close()
	return ref, e.command(ctx, archive, "import", "-", ref)
}

// nixWish is wish for jobs that have a Nix store, whose daemon is made of an image; lines are added to [runners.nix].
func (e containerEngine) nixWish(ref, daemon string, concurrent int, lines ...string) wish {
	w := e.wish(ref, concurrent, e.socket)
	w.project = false
	w.more = append(w.more, "  [runners.nix]", `    store = "shared"`, "    path = true", fmt.Sprintf("    image = %q", daemon), "    substituters = []")
	for _, line := range lines {
		w.more = append(w.more, "    "+line)
	}
	return w
}

// nixRunner is a runner all of whose jobs share one store, which is there.
type nixRunner struct {
	*installation

	skerry string // the program
	engine containerEngine
	store  string // its name
	image  string // of its daemon
}

// shareStore installs such a runner, and has a job make firstBuild. The caller removes both.
func shareStore(ctx context.Context, s *settings, e containerEngine, ref string, concurrent int) (r *nixRunner, err error) {
	daemon, err := e.loadNix(ctx)
	if err != nil {
		return nil, err
	}
	// Collections are part of what is measured only where that says so.
	in, err := install(ctx, s, e.nixWish(ref, daemon, concurrent, `trust = "runner"`, `collect_interval = "0s"`, `min_free = "1MB"`))
	if err != nil {
		return nil, err
	}
	r = &nixRunner{installation: in, skerry: s.skerry, engine: e, image: daemon}
	_, err = in.job(ctx, gitlabtest.JobSpec{Script: []string{firstBuild}})
	if err == nil {
		err = in.listening(ctx)
	}
	has, statErr := r.stat(context.WithoutCancel(ctx)) // also of a job that has failed, for its store is to be removed
	r.store = has.Name
	if err = errors.Join(err, statErr); err != nil {
		return nil, errors.Join(err, r.remove(ctx))
	}
	return r, nil
}

// remove ends the runner and removes its store.
func (r *nixRunner) remove(ctx context.Context) error {
	err := r.close()
	if r.store == "" {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	return errors.Join(err,
		r.engine.command(ctx, nil, "rm", "--force", r.store),
		r.engine.command(ctx, nil, "volume", "rm", r.store+"-store", r.store+"-var", r.store+"-gate"))
}

// nix runs a command `skerry nix` about the store and returns what it prints for other programs.
func (r *nixRunner) nix(ctx context.Context, args ...string) ([]byte, error) {
	args = append([]string{"nix"}, append(args, "--json", "--state-dir", filepath.Join(r.dir, ".skerry"))...)
	cmd := exec.CommandContext(ctx, r.skerry, args...)
	cmd.Env = r.env
	out, err := cmd.Output()
	if err != nil {
		var failed *exec.ExitError
		_ = errors.As(err, &failed)
		return nil, fmt.Errorf("%q: %w: %s", cmd.Args, err, failed.Stderr)
	}
	return out, nil
}

// stat is what the runner says of the store.
func (r *nixRunner) stat(ctx context.Context) (control.NixStore, error) {
	said, err := r.nix(ctx, "stat")
	if err != nil {
		return control.NixStore{}, err
	}
	var stores []control.NixStore
	if err := json.Unmarshal(said, &stores); err != nil {
		return control.NixStore{}, fmt.Errorf("what skerry nix stat says: %w", err)
	}
	if len(stores) != 1 {
		return control.NixStore{}, fmt.Errorf("the runner has %d stores instead of one: %s", len(stores), said)
	}
	return stores[0], nil
}

// saidAt reads the time that a job has written behind words.
func saidAt(trace []byte, words string) (time.Time, error) {
	_, when, _ := strings.Cut(string(trace[max(0, strings.LastIndex(string(trace), words)):]), words) // the line of the script comes first
	when, _, _ = strings.Cut(when, "\n")
	at, err := strconv.ParseFloat(strings.TrimSpace(when), 64) // to a microsecond, which will do
	if err != nil {
		return time.Time{}, fmt.Errorf("the job does not say when it %s: %w\n%s", strings.TrimSuffix(words, " at "), err, trace)
	}
	return time.Unix(0, int64(at*1e9)), nil
}
