package build

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/client"

	"gitlab.com/skerry/skerry/internal/cli/program"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
	"gitlab.com/skerry/skerry/internal/image/saved"
	"gitlab.com/skerry/skerry/internal/image/savedtest"
)

// store is an engine that keeps archives, for what the command says and asks; the real ones are in build_test.go.
type store struct {
	t       *testing.T
	images  map[string]savedtest.Image
	remote  map[string]savedtest.Image
	loaded  map[string]*saved.Image
	closed  bool
	former  string // id of images before they are loaded
	dropped []string
}

func (s *store) String() string { return "an engine" }

func (s *store) Image(_ context.Context, ref string) (*engineapi.Image, error) {
	_, has := s.images[ref]
	_, made := s.loaded[ref]
	switch {
	case !has && !made && s.former != "":
		return &engineapi.Image{ID: s.former, Tags: []string{ref}}, nil
	case !has && !made:
		return nil, errdefs.ErrNotFound
	}
	return &engineapi.Image{ID: "id of " + ref}, nil
}

func (s *store) Pull(_ context.Context, ref, _ string, _ client.ImagePullOptions, _ func(engineapi.Progress)) error {
	i, has := s.remote[ref]
	if !has {
		return errors.New("pull access denied")
	}
	s.images[ref] = i
	return nil
}

func (s *store) DropImage(_ context.Context, id string) error {
	s.dropped = append(s.dropped, id)
	return nil
}

func (s *store) Save(_ context.Context, id string) (io.ReadCloser, error) {
	return io.NopCloser(s.images[strings.TrimPrefix(id, "id of ")].Save(s.t)), nil
}

func (s *store) Load(_ context.Context, write func(io.Writer) error) error {
	var b bytes.Buffer
	if err := write(&b); err != nil {
		return err
	}
	i, err := saved.Open(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err == nil {
		_, tag, _ := strings.Cut(b.String(), `"RepoTags":["`)
		tag, _, _ = strings.Cut(tag, `"`)
		s.loaded[tag] = i
	}
	return err
}

func debian() savedtest.Image {
	return savedtest.Image{Layers: []savedtest.Layer{{savedtest.File("usr/bin/nix-daemon", "x", 0o755), savedtest.File("nix/store/a/b", "12345", 0o444)}}}
}

// run is a command line; it returns what was written to standard output.
func run(t *testing.T, s *store, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	p := &program.Program{Streams: program.Streams{Out: &out, Err: io.Discard}, Logger: slog.New(slog.DiscardHandler)}
	s.t, s.loaded = t, map[string]*saved.Image{}
	b := &builder{program: p, connect: func(context.Context, string) (engine, func() error, error) {
		return s, func() error { s.closed = true; return nil }, nil
	}}
	cmd := b.command()
	cmd.SetArgs(append([]string{"build"}, args...))
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetOut(&out)
	err := cmd.ExecuteContext(t.Context())
	return out.String(), err
}

func TestWhatIsMadeAndSaid(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args []string
		tag  string
		want []string
	}{
		"daemon": {[]string{"nix-daemon", "--from", "debian:trixie"}, "localhost/skerry-nix-daemon:latest", []string{
			"Made localhost/skerry-nix-daemon:latest (id of localhost/skerry-nix-daemon:latest) of debian:trixie.", "Nix is /usr/bin/nix-daemon.", "store = \"shared\" in [runners.nix].",
		}},
		"daemon with a name": {[]string{"nix-daemon", "--from", "debian:trixie", "--tag", "localhost:5000/nixd"}, "localhost:5000/nixd:latest", []string{"and image = \"localhost:5000/nixd:latest\"."}},
		"job":                {[]string{"job", "--from", "debian:trixie"}, "localhost/skerry-job-debian:trixie", []string{"Left out: 1 store paths with 0.0 kB", "image = \"localhost/skerry-job-debian:trixie\" and pull_policy"}},
		"pulled":             {[]string{"job", "--from", "registry.example.com:5000/a/remote", "--tag", "mine:1"}, "mine:1", []string{"Made mine:1"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &store{images: map[string]savedtest.Image{"debian:trixie": debian()}, remote: map[string]savedtest.Image{"registry.example.com:5000/a/remote": debian()}}
			out, err := run(t, s, c.args...)
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range c.want {
				if !strings.Contains(out, want) {
					t.Errorf("it does not say %q:\n%s", want, out)
				}
			}
			if s.loaded[c.tag] == nil || !s.closed {
				t.Errorf("loaded: %v, closed: %t", s.loaded, s.closed)
			}
		})
	}
}

func TestWhatIsRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args  []string
		usage bool
		want  string
	}{
		"no base":          {[]string{"job"}, true, "--from IMAGE"},
		"a bad name":       {[]string{"job", "--from", "debian:trixie", "--tag", "A B"}, true, "--tag: "},
		"a digest as name": {[]string{"job", "--from", "debian:trixie", "--tag", "a@sha256:00"}, true, "--tag: "},
		"another kind":     {[]string{"vm"}, true, `there is no image "vm" to make`},
		"too many words":   {[]string{"job", "debian:trixie"}, true, `"debian:trixie" is not expected here`},
		"nowhere":          {[]string{"job", "--from", "nowhere"}, false, "pull access denied (if it needs a login"},
		"no Nix":           {[]string{"nix-daemon", "--from", "empty"}, false, "the image empty has no Nix"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &store{images: map[string]savedtest.Image{"debian:trixie": debian(), "empty": {Layers: []savedtest.Layer{{savedtest.Dir("etc", 0o755)}}}}}
			_, err := run(t, s, c.args...)
			var usage *program.UsageError
			if err == nil || errors.As(err, &usage) != c.usage || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

func TestFormerImageGoes(t *testing.T) {
	t.Parallel()
	s := &store{images: map[string]savedtest.Image{"debian:trixie": debian()}, former: "id of an older one"}
	if _, err := run(t, s, "job", "--from", "debian:trixie"); err != nil || !cmp.Equal(s.dropped, []string{"id of an older one"}) {
		t.Errorf("dropped %q, %v", s.dropped, err)
	}
}

func TestNamesOfJobImages(t *testing.T) {
	t.Parallel()
	for from, want := range map[string]string{
		"debian": "localhost/skerry-job-debian:latest", "docker.io/library/debian:trixie": "localhost/skerry-job-debian:trixie", "localhost:5000/x": "localhost/skerry-job-x:latest",
		"a/b:1@sha256:0123": "localhost/skerry-job-b:1",
	} {
		got, err := fullName(jobTag(from))
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v %s", from, err, diff)
		}
	}
}
