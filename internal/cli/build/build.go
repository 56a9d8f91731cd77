// Package build has the command `image build`: images made on this machine, through a container engine, without a
// registry and without a Containerfile.
package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"

	"gitlab.com/skerry/skerry/internal/cli/program"
	"gitlab.com/skerry/skerry/internal/config"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
	"gitlab.com/skerry/skerry/internal/image"
	"gitlab.com/skerry/skerry/internal/image/saved"
)

// engine is what is asked of a container engine.
type engine interface {
	Image(ctx context.Context, ref string) (*engineapi.Image, error)
	Pull(ctx context.Context, ref, auth string, o client.ImagePullOptions, progress func(engineapi.Progress)) error
	Save(ctx context.Context, ref string) (io.ReadCloser, error)
	Load(ctx context.Context, write func(io.Writer) error) error
	DropImage(ctx context.Context, ref string) error
	String() string
}

// options are a command line.
type options struct {
	host, from, tag string
}

// builder makes one image. Everything but the command line comes from where it is made, so that tests can replace it.
type builder struct {
	program *program.Program
	connect func(ctx context.Context, host string) (engine, func() error, error)
}

// New returns the command `image`.
func New(p *program.Program) *cobra.Command {
	b := &builder{program: p}
	b.connect = b.find
	return b.command()
}

func (b *builder) command() *cobra.Command {
	images := &cobra.Command{
		Use:   "image",
		Short: "Make images for jobs",
		Long:  "Make images for jobs and for what jobs need, on this machine: no registry and no Containerfile is needed.",
		RunE:  showHelp,
	}
	build := &cobra.Command{
		Use:   "build",
		Short: "Make an image",
		Long: "Make an image and give it to a container engine: the one that DOCKER_HOST or CONTAINER_HOST names, else the first that is found, as for jobs. " +
			"A base that the engine does not have is pulled.",
		RunE: showHelp,
	}
	build.AddCommand(
		b.derived("nix-daemon", "Make the image of the Nix daemon",
			"Make the image of the daemon that keeps a Nix store for jobs (store = \"shared\" in [runners.nix]), from any image that has Nix. It gets labels that "+
				"keep it from being pruned and say where Nix is; users for builds are made when the daemon starts.",
			func(string) string { return config.DefaultNixImage }, image.NixDaemon, daemonNext),
		b.derived("job", "Make an image of jobs without store paths",
			"Make an image for jobs that get their Nix store from a daemon, from any image. What the base has of store paths is left out, of every layer; what Nix wants of directories, "+
				"a nix.conf that can be written and NIX_REMOTE are added. Entrypoint, user, variables, working directory and labels stay. Its jobs have the store's own Nix in PATH.",
			jobTag, image.NixJob, jobNext),
		b.derived("podman", "Make the image of the engines that jobs get",
			"Make the image of the rootless Podman that jobs get for containers of their own (nested = \"podman\" in [runners.docker]), from any image that has Podman, newuidmap and newgidmap. "+
				"It gets a user with ranges of ids that fit into those of a rootless engine outside; newuidmap and newgidmap get file capabilities, and no program of it is setuid any more.",
			func(string) string { return config.DefaultNestedImage }, image.Podman, nestedNext),
		b.helper(),
	)
	images.AddCommand(build, prepare())
	return images
}

func showHelp(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return &program.UsageError{Command: cmd.CommandPath(), Err: fmt.Errorf("there is no image %q to make", args[0])}
	}
	return cmd.Help()
}

// plan is how an image is made of a base.
type plan func(base *saved.Image, baseName, tag string) (*image.Derived, error)

// derived is a command that makes an image of another one. next says what is done with it.
func (b *builder) derived(kind, short, long string, tag func(from string) string, plan plan, next func(tag string) string) *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use: kind + " --from IMAGE", Short: short, Long: long, Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.from == "" {
				return &program.UsageError{Command: cmd.CommandPath(), Err: errors.New("name the image to begin with: --from IMAGE")}
			}
			if o.tag == "" {
				o.tag = tag(o.from)
			}
			full, err := fullName(o.tag)
			if err != nil {
				return &program.UsageError{Command: cmd.CommandPath(), Err: fmt.Errorf("--tag: %w", err)}
			}
			o.tag = full
			return b.derive(cmd.Context(), o, plan, next)
		},
	}
	b.flags(cmd, &o)
	cmd.Flags().StringVar(&o.from, "from", "", "the image to begin with")
	cmd.Flags().StringVar(&o.tag, "tag", "", "name of the new image; without it "+tag("NAME:TAG"))
	return cmd
}

func (b *builder) flags(cmd *cobra.Command, o *options) {
	cmd.Flags().StringVarP(&o.host, "host", "H", "", "address of the engine: unix:///run/podman/podman.sock, tcp://HOST:PORT [$DOCKER_HOST, $CONTAINER_HOST]")
}

func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return &program.UsageError{Command: cmd.CommandPath(), Err: fmt.Errorf("%q is not expected here", args[0])}
	}
	return nil
}

// fullName is the name of an image with its tag, as archives of images have it.
func fullName(s string) (string, error) {
	t, err := name.NewTag(s)
	if err != nil {
		return "", err
	}
	if strings.HasSuffix(s, ":"+t.TagStr()) {
		return s, nil
	}
	return s + ":" + t.TagStr(), nil
}

// jobTag is the name of the image of jobs that is made of from.
func jobTag(from string) string {
	base, tag, tagged := strings.Cut(path.Base(strings.Split(from, "@")[0]), ":")
	if tagged {
		tag = ":" + tag
	}
	return "localhost/skerry-job-" + base + tag
}

// derive makes an image of another one.
func (b *builder) derive(ctx context.Context, o options, plan plan, next func(string) string) (err error) {
	e, done, err := b.connect(ctx, o.host)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	id, err := b.present(ctx, e, o.from)
	if err != nil {
		return err
	}
	base, closeBase, err := fetch(ctx, e, id)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeBase()) }()
	d, err := plan(base, o.from, o.tag)
	if err != nil {
		return err
	}
	made, err := b.give(ctx, e, o.tag, func(w io.Writer) error { return base.Write(w, d.Change) })
	if err != nil {
		return err
	}
	b.program.Say("Made %s (%s) of %s.", o.tag, made.ID, o.from)
	for _, note := range d.Notes {
		b.program.Say("%s", note)
	}
	b.program.Say("%s", next(o.tag))
	return nil
}

// give has the engine load an image in the place of an earlier one with its name, which goes where nothing else names it and no
// container has it.
func (b *builder) give(ctx context.Context, e engine, tag string, write func(io.Writer) error) (*engineapi.Image, error) {
	former, err := e.Image(ctx, tag)
	if err != nil && !engineapi.IsAbsent(err) {
		return nil, err
	}
	b.program.Logger.Info("Giving the image to the engine", "image", tag)
	if err := e.Load(ctx, write); err != nil {
		return nil, err
	}
	made, err := e.Image(ctx, tag)
	if err != nil {
		return nil, fmt.Errorf("the engine has taken the image, and does not have it: %w", err)
	}
	if former == nil || former.ID == made.ID || len(former.Tags) > 1 {
		return made, nil
	}
	if err := e.DropImage(ctx, former.ID); err != nil {
		b.program.Logger.Debug("The former image of this name stays", "id", former.ID, "error", err)
	}
	return made, nil
}

// present returns the id of an image, which is pulled when the engine does not have it.
func (b *builder) present(ctx context.Context, e engine, ref string) (string, error) {
	i, err := e.Image(ctx, ref)
	if err == nil || !engineapi.IsAbsent(err) {
		if err != nil {
			return "", err
		}
		return i.ID, nil
	}
	b.program.Logger.Info("Pulling the image", "image", ref, "engine", e.String())
	if err := e.Pull(ctx, ref, "", client.ImagePullOptions{}, func(engineapi.Progress) {}); err != nil {
		return "", fmt.Errorf("%w (if it needs a login, pull it by the engine's own command first)", err)
	}
	if i, err = e.Image(ctx, ref); err != nil {
		return "", err
	}
	return i.ID, nil
}

// fetch copies an image from the engine into a file that has no name any more.
func fetch(ctx context.Context, e engine, id string) (*saved.Image, func() error, error) {
	f, err := os.CreateTemp("", "skerry-image-*")
	if err != nil {
		return nil, nil, fmt.Errorf("copy the image: %w", err)
	}
	img, err := copyImage(ctx, e, id, f)
	if err = errors.Join(os.Remove(f.Name()), err); err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return img, f.Close, nil
}

func copyImage(ctx context.Context, e engine, id string, f *os.File) (*saved.Image, error) {
	r, err := e.Save(ctx, id)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	size, err := io.Copy(f, r)
	if err != nil {
		return nil, fmt.Errorf("copy the image into %s (TMPDIR names another directory): %w", path.Dir(f.Name()), err)
	}
	return saved.Open(f, size)
}

// daemonNext and jobNext say what is done with an image.
func daemonNext(tag string) string {
	text := "To use it: store = \"shared\" in [runners.nix]"
	if strings.TrimSuffix(tag, ":latest") != config.DefaultNixImage {
		text += fmt.Sprintf(", and image = %q", tag)
	}
	return text + "."
}

// nestedNext says what is done with the image of engines for jobs.
func nestedNext(tag string) string {
	text := "To use it: nested = \"podman\" in [runners.docker]"
	if strings.TrimSuffix(tag, ":latest") != config.DefaultNestedImage {
		text += fmt.Sprintf(", and nested_image = %q", tag)
	}
	return text + "."
}

func jobNext(tag string) string {
	return fmt.Sprintf("To use it: image = %q and pull_policy = \"if-not-present\" in [runners.docker], or in .gitlab-ci.yml.", tag)
}
