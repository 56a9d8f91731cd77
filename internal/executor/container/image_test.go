package container_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/container"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
	"gitlab.com/skerry/skerry/internal/executor/container/enginetest"
	"gitlab.com/skerry/skerry/internal/executor/container/images"
	"gitlab.com/skerry/skerry/internal/job"
)

type jobLog struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *jobLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *jobLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// runnerProcess is a process of a runner: what it makes is removed, and what it knows forgotten, when the test ends.
func runnerProcess(t *testing.T, o container.Options) *container.Executor {
	t.Helper()
	host := &container.Host{Keychain: &images.Keychain{}}
	t.Cleanup(func() {
		if err := host.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return container.New(o, host, slog.New(slog.NewTextHandler(t.Output(), nil)))
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// dial waits for the build place.
func dial(t *testing.T, env executor.Environment) error {
	t.Helper()
	t.Cleanup(func() {
		if err := env.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	conn, err := env.Dial(within(t), executor.Build)
	if err == nil {
		conn.Close()
	}
	return err
}

// TestImageIsPinned: what an image's name meant when a job began is what it means for the rest of the job,
// to another process, too, and no registry is needed for that.
func TestImageIsPinned(t *testing.T) {
	t.Parallel()
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) {
		o := options(t, e)
		o.Rules = images.Rules{PullPolicy: []string{images.Always, images.IfNotPresent}, AllowedPolicies: []string{images.Always, images.IfNotPresent}}
		o.HelperImage = "localhost/skerry-pinned-helper:1"
		e.Load(t, enginetest.Image{Name: o.HelperImage})
		registry := enginetest.NewRegistry(t, e)
		registry.Allow("", "", "open/build")
		registry.Push(t, enginetest.Image{Name: "open/build:1", Env: []string{"PINNED=" + registry.Host}})
		name := registry.Host + "/open/build:1"
		api := e.Client(t)
		t.Cleanup(func() { _, _ = api.ImageRemove(context.Background(), name, client.ImageRemoveOptions{Force: true}) })
		j := &job.Job{ID: 1, Token: "t", Image: &job.Image{Name: name, PullPolicies: []string{images.Always}}}
		ref := executor.NewRef(executor.OwnerID(executor.NewRef("x").ID))
		log := &jobLog{}
		first, err := runnerProcess(t, o).Prepare(within(t), ref, j, log)
		if err != nil {
			t.Fatal(err)
		}
		if err := dial(t, first); err != nil {
			t.Fatalf("%v\n%s", err, log)
		}
		id, err := e.Connect(t).Image(t.Context(), name) // which asks again where Podman stumbles over images of others
		if err != nil {
			t.Fatal(err)
		}
		c, err := api.ContainerInspect(t.Context(), "skerry-"+ref.ID+"-build", client.ContainerInspectOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if strings.TrimPrefix(c.Container.Image, "sha256:") != strings.TrimPrefix(id.ID, "sha256:") {
			t.Errorf("the container is of %s, the image is %s", c.Container.Image, id.ID)
		}
		registry.Close()
		second, err := runnerProcess(t, o).Adopt(within(t), ref)
		if err != nil {
			t.Fatal(err)
		}
		if err := dial(t, second); err != nil {
			t.Errorf("adopted without the registry: %v", err)
		}
	})
}

// TestImageVanishes: one that is removed between its pull and the start of its container is pulled again, whatever
// the container is for.
func TestImageVanishes(t *testing.T) {
	t.Parallel()
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) {
		for part, use := range map[string]func(o *container.Options, j *job.Job, image string){
			"build":  func(_ *container.Options, j *job.Job, image string) { j.Image = &job.Image{Name: image} },
			"helper": func(o *container.Options, _ *job.Job, image string) { o.HelperImage = image },
			"service": func(_ *container.Options, j *job.Job, image string) {
				j.Services = []job.Image{{Name: image, Command: []string{"sleep", "1000"}}}
			},
		} {
			t.Run(part, func(t *testing.T) {
				t.Parallel()
				vanish(t, e, use)
			})
		}
	})
}

func vanish(t *testing.T, e enginetest.Engine, use func(*container.Options, *job.Job, string)) {
	t.Helper()
	o := options(t, e)
	registry := enginetest.NewRegistry(t, e)
	registry.Allow("", "", "open/build")
	registry.Push(t, enginetest.Image{Name: "open/build:1", Env: []string{"VANISHES=" + registry.Host}})
	name := registry.Host + "/open/build:1"
	api := e.Client(t)
	remove := func() {
		for end := time.Now().Add(patience); time.Now().Before(end); <-time.After(50 * time.Millisecond) { // Podman refuses while it is busy with others
			_, err := api.ImageRemove(context.Background(), name, client.ImageRemoveOptions{Force: true})
			if err == nil || engineapi.IsAbsent(err) {
				return
			}
			t.Logf("removing the image: %v", err)
		}
	}
	t.Cleanup(remove)
	// The lines of the pull are written before the container is made: there the image is removed.
	log := &jobLog{}
	var once sync.Once
	spy := writerFunc(func(p []byte) (int, error) {
		if bytes.Contains(p, []byte(" for "+name+" with digest ")) {
			once.Do(remove)
		}
		return log.Write(p)
	})
	j := &job.Job{ID: 1, Token: "t"}
	use(&o, j, name)
	env, err := runnerProcess(t, o).Prepare(within(t), executor.NewRef(executor.OwnerID(executor.NewRef("x").ID)), j, spy)
	if err != nil {
		t.Fatal(err)
	}
	if err := dial(t, env); err != nil {
		t.Errorf("%v\n%s", err, log)
	}
	if n := strings.Count(log.String(), "Using docker image "); n < 3 {
		t.Errorf("nobody noticed:\n%s", log)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// TestRules: what the runner's rules forbid ends the job before anything is made.
func TestRules(t *testing.T) {
	t.Parallel()
	o := container.Options{
		Dir: t.TempDir(), Image: "default.example.com/$NAME:1", BuildsDir: "/builds", CacheDir: "/cache", User: "job",
		Services: []container.ServiceImage{{Image: job.Image{Name: "own.example.com/db:1"}}},
		Rules: images.Rules{
			AllowedUsers: []string{"job", "1000"}, AllowedImages: []string{"ruby:*"}, AllowedServices: []string{"postgres:*"}, AllowedPolicies: []string{images.Always, images.IfNotPresent},
		},
	}
	for name, tc := range map[string]struct {
		job  job.Job
		want string
	}{
		"image":             {job.Job{Image: &job.Image{Name: "evil:1"}}, `The "evil:1" image is not present on list of allowed images: ruby:*`},
		"digest":            {job.Job{Image: &job.Image{Name: "docker.io/evil/ruby:1"}}, "not present on list of allowed images"},
		"default's pattern": {job.Job{Variables: job.Variables{{Key: "NAME", Value: "evil"}}}, "default.example.com/evil:1"},
		"service":           {job.Job{Image: &job.Image{Name: "ruby:3"}, Services: []job.Image{{Name: "postgres:9"}, {Name: "mysql:8"}}}, `"mysql:8" image is not present on list of allowed services`},
		"policy":            {job.Job{Image: &job.Image{Name: "ruby:3", PullPolicies: []string{"never"}}}, "pull_policy ([never]) defined in GitLab pipeline config"},
		"service's policy":  {job.Job{Image: &job.Image{Name: "ruby:3"}, Services: []job.Image{{Name: "postgres:9", PullPolicies: []string{"never"}}}}, "pull_policy ([never])"},
		"service's user":    {job.Job{Image: &job.Image{Name: "ruby:3"}, Services: []job.Image{{Name: "postgres:9", User: "1000"}, {Name: "postgres:8", Alias: "b", User: "0"}}}, `user "0" is not an allowed user: [job 1000]`},
		"user by a variable": {job.Job{
			Variables: job.Variables{{Key: "U", Value: "root"}}, Image: &job.Image{Name: "ruby:3"}, Services: []job.Image{{Name: "postgres:9", User: "$U"}},
		}, `user "root" is not an allowed user`},
		"image by a variable left over": {job.Job{Variables: job.Variables{{Key: "X", Value: "ruby"}}, Image: &job.Image{Name: "$X:3"}}, "$X:3"},
		"service by one":                {job.Job{Variables: job.Variables{{Key: "X", Value: "postgres"}}, Image: &job.Image{Name: "ruby:3"}, Services: []job.Image{{Name: "$X:3"}}}, "$X"},
		"default by a nested variable":  {job.Job{Variables: job.Variables{{Key: "NAME", Value: "$OTHER"}, {Key: "OTHER", Value: "x"}}}, "default.example.com/$OTHER:1"},
		"default by an empty one":       {job.Job{}, "default.example.com/:1"},
		"name":                          {job.Job{Image: &job.Image{Name: "Ruby"}}, "Ruby"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := container.New(o, &container.Host{}, slog.New(slog.DiscardHandler)).Prepare(t.Context(), executor.NewRef("0123456789abcdef"), &tc.job, &jobLog{})
			var f *executor.Failure
			if !errors.As(err, &f) || f.Reason != job.ReasonConfiguration || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want a failure of the configuration with %q", err, tc.want)
			}
		})
	}
}
