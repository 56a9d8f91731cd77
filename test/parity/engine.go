package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// engine is the container engine that both runners' docker executors use.
type engine struct {
	host    string
	image   string
	helper  string // GitLab Runner's helper image
	address string // of the coordinator
}

// listen is where the coordinator listens: containers reach it there.
func (e *engine) listen() string {
	if e == nil {
		return ""
	}
	return e.address + ":0"
}

// config is the section about containers. Caches are in a directory of the side, so that they can be
// compared; the work trees are in the volumes that each runner makes.
func (e *engine) config(s side) string {
	if e == nil {
		return ""
	}
	text := fmt.Sprintf("[runners.docker]\nhost = %q\nimage = %q\npull_policy = \"if-not-present\"\nvolumes = [%q]\n", e.host, e.image, filepath.Join(s.dir, "cache")+":/cache")
	if s.name == theirs && e.helper != "" {
		text += fmt.Sprintf("helper_image = %q\n", e.helper)
	}
	return text
}

// prepare builds the images of test/parity/testdata/images as parity.test/NAME.
func (e *engine) prepare(ctx context.Context) error {
	if e.address == "" {
		return errors.New("containers must reach the coordinator: name an address of this machine with --address that is not 127.0.0.1")
	}
	const images = "test/parity/testdata/images"
	entries, err := os.ReadDir(images)
	if err != nil {
		return err
	}
	for _, d := range entries {
		cmd := exec.CommandContext(ctx, "docker", "--host", e.host, "build", "--quiet", "--build-arg", "IMAGE="+e.image, "--tag", "parity.test/"+d.Name(), filepath.Join(images, d.Name())) //nolint:gosec // by their author
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build the image of %s/%s: %w: %s", images, d.Name(), err, out)
		}
	}
	return nil
}
