// Package rootbuilder is a program that builds an image in the root directory of its own container and pushes it, for tests: with the calls of the
// kernel, and the command line, that kaniko has. It unpacks the base to /, runs commands there without chroot or namespaces, and
// takes what has changed for layers. Mounts and /kaniko are left alone. Of a Dockerfile it knows FROM, RUN and COPY.
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
)

func main() {
	directory := flag.String("context", ".", "where COPY takes files from")
	file := flag.String("dockerfile", "Dockerfile", "what to do")
	to := flag.String("destination", "", "the image to push")
	insecure := flag.Bool("insecure", false, "speak to the registry without TLS")
	flag.BoolVar(insecure, "insecure-pull", false, "the same")
	flag.Parse()
	b := &builder{ctx: context.Background(), context: *directory, root: &root{}}
	if *insecure {
		b.names = append(b.names, name.Insecure)
	}
	if err := b.build(*file, *to); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// builder is one build.
type builder struct {
	ctx     context.Context //nolint:containedctx // the program's
	context string
	names   []name.Option
	root    *root

	image v1.Image
	env   []string
}

func (b *builder) build(file, to string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		word, rest, _ := strings.Cut(strings.TrimSpace(lines.Text()), " ")
		if word == "" {
			continue
		}
		fmt.Fprintln(os.Stdout, lines.Text())
		if err := b.step(word, rest); err != nil {
			return fmt.Errorf("%s: %w", lines.Text(), err)
		}
	}
	return b.push(to)
}

func (b *builder) step(word, rest string) error {
	switch word {
	case "FROM":
		base, _, _ := strings.Cut(rest, " ") // AS a name
		return b.from(base)
	case "COPY":
		from, to, _ := strings.Cut(rest, " ")
		return b.layer(func() error { return copyFile(filepath.Join(b.context, from), to) })
	case "RUN":
		return b.layer(func() error {
			cmd := exec.CommandContext(b.ctx, "/bin/sh", "-c", rest)
			cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = "/", b.env, os.Stdout, os.Stderr
			return cmd.Run()
		})
	}
	return fmt.Errorf("%q is not known", word)
}

// from has the base, and nothing of what was there before, in the root directory.
func (b *builder) from(base string) (err error) {
	if err := b.root.look(); err != nil {
		return err
	}
	if b.image != nil {
		if err := b.root.empty(); err != nil {
			return err
		}
	}
	b.image = empty.Image
	if base != "scratch" {
		if b.image, err = b.pull(base); err != nil {
			return err
		}
	}
	config, err := b.image.ConfigFile()
	if err != nil {
		return err
	}
	b.env = config.Config.Env
	files := mutate.Extract(b.image)
	defer files.Close()
	if err := b.root.unpack(files); err != nil {
		return err
	}
	return b.root.remember()
}

// layer does something, and makes a layer of what that has changed.
func (b *builder) layer(do func() error) error {
	if err := do(); err != nil {
		return err
	}
	l, err := b.root.changes()
	if err != nil {
		return err
	}
	b.image, err = mutate.AppendLayers(b.image, l)
	return err
}
