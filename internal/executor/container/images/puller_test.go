package images_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
	"gitlab.com/skerry/skerry/internal/executor/container/enginetest"
	"gitlab.com/skerry/skerry/internal/executor/container/images"
	"gitlab.com/skerry/skerry/internal/job"
)

// TestPrivateImageStaysPrivate: an image that one project's login has brought is never given to another.
func TestPrivateImageStaysPrivate(t *testing.T) {
	t.Parallel()
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) {
		b := newBench(t, e)
		b.allow("alice", "team/secret")
		b.allow("bob", "other/thing")
		digest := b.registry.Push(t, enginetest.Image{Name: "team/secret:1", Env: []string{"SECRET=" + b.registry.Host}})
		name := b.name("team/secret:1")
		nobody, bob := images.Access{}, b.variable("bob")
		b.refused(name, "if-not-present", nobody, job.ReasonConfiguration, "without credentials", b.registry.Host)

		i, log := b.must(name, "if-not-present", b.payload("alice", "1"))
		for _, want := range []string{
			"Using effective pull policy of [if-not-present] for container " + name + "\n",
			"Authenticating with credentials from job payload (GitLab Registry)\n",
			"Pulling docker image " + name + " ...\n",
			"Using docker image " + i.ID + " for " + name + " with digest " + b.registry.Host + "/team/secret@" + digest + " ...\n",
		} {
			if !strings.Contains(log, want) {
				t.Errorf("the log has no %q:\n%s", want, log)
			}
		}
		untagged := strings.TrimSuffix(name, ":1")
		for _, way := range []string{name, untagged + "@" + digest, untagged + ":x@" + digest, i.ID, strings.TrimPrefix(i.ID, "sha256:")} {
			for _, policies := range []string{"if-not-present", "never", "always", "always if-not-present never"} {
				b.refused(way, policies, nobody, job.ReasonConfiguration)
			}
			b.refused(way, "if-not-present", bob, job.ReasonConfiguration)
		}
		b.refused(name, "if-not-present", bob, job.ReasonConfiguration, `of user "bob" from $DOCKER_AUTH_CONFIG`)
		b.registry.Asked()

		// What is proven is not asked for again, for a while.
		for _, policy := range []string{"if-not-present", "never"} {
			if _, log := b.must(name, policy, b.payload("alice", "1")); strings.Contains(log, "Pulling") {
				t.Errorf("pulled again:\n%s", log)
			}
		}
		if asked := b.registry.Asked(); len(asked) != 0 {
			t.Errorf("the registry was asked: %q", asked)
		}
		// Another login with access is asked for, and nothing is pulled.
		if _, log := b.must(name, "if-not-present", b.variable("alice")); !strings.Contains(log, `Using locally found image version due to "if-not-present" pull policy`) {
			t.Errorf("another login:\n%s", log)
		}
		if asked := b.registry.Asked(); len(asked) == 0 {
			t.Error("nobody asked the registry for another login")
		}
		b.must(i.ID, "if-not-present", b.variable("alice"))
		// A login that has lost its access is noticed.
		b.registry.Forbid("alice", "team/secret")
		b.clock.Add(int64((time.Hour).Seconds()))
		b.refused(name, "if-not-present", b.payload("alice", "1"), job.ReasonConfiguration)
		b.refused(name, "never", b.payload("alice", "1"), job.ReasonConfiguration, "its registry does not show it to this job")

		// A runner with a state of its own knows nothing of who brought the image.
		b.puller = b.runner()
		b.refused(name, "if-not-present", nobody, job.ReasonConfiguration)
		b.refused(name, "never", bob, job.ReasonConfiguration)
	})
}

// TestRegistryThatDoesNotAnswer: who had access goes on, nobody else gets in.
func TestRegistryThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) {
		b := newBench(t, e)
		b.allow("alice", "team/app")
		b.allow("", "open/app")
		b.registry.Push(t, enginetest.Image{Name: "team/app:1", Env: []string{"APP=" + b.registry.Host}})
		b.registry.Push(t, enginetest.Image{Name: "open/app:1", Env: []string{"OPEN=" + b.registry.Host}})
		private, open := b.name("team/app:1"), b.name("open/app:1")
		b.must(private, "always", b.payload("alice", "1"))
		b.must(open, "always", images.Access{})
		b.registry.Close()
		b.clock.Add(int64(time.Hour.Seconds()))
		_, log := b.must(private, "always if-not-present", b.payload("alice", "1"))
		for _, want := range []string{
			`WARNING: Failed to pull image with policy "always": the registry ` + b.registry.Host + ` does not answer`,
			`Attempt #2: Trying "if-not-present" pull policy`,
			"does not answer: the image that is present is used",
		} {
			if !strings.Contains(log, want) {
				t.Errorf("the log has no %q:\n%s", want, log)
			}
		}
		if strings.Contains(log, "retrying") {
			t.Errorf("a policy that another one follows is tried again:\n%s", log)
		}
		b.must(open, "if-not-present", images.Access{})
		b.must(open, "if-not-present", b.payload("alice", "2"))
		b.refused(private, "if-not-present", images.Access{}, job.ReasonExternal)
		b.refused(private, "never", b.payload("alice", "2"), job.ReasonExternal, "has never been shown to have access")
		b.clock.Add(int64((30 * 24 * time.Hour).Seconds()))
		b.refused(private, "never", b.payload("alice", "1"), job.ReasonExternal)
		_, log, err := b.get(private, "always", b.payload("alice", "1"))
		more := 2
		if b.e.Kind == engineapi.Podman {
			more = 0
		}
		if err == nil || strings.Count(log, "retrying") != more {
			t.Errorf("%v, want %d more attempts:\n%s", err, more, log)
		}
	})
}

// TestLocalImages: what never was in a registry is everybody's, under every name that it may have.
func TestLocalImages(t *testing.T) {
	t.Parallel()
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) {
		b := newBench(t, e)
		e.Load(t, enginetest.Image{Name: "skerry.test/local:1"})
		e.Load(t, enginetest.Image{Name: "localhost/skerry-local:1"})
		for _, policy := range []string{"if-not-present", "never", "always if-not-present"} {
			b.must("skerry.test/local:1", policy, images.Access{})
			b.must("localhost/skerry-local:1", policy, images.Access{})
		}
		i, log := b.must("localhost/skerry-local:1", "always", images.Access{})
		if strings.Contains(log, "Pulling") {
			t.Errorf("a local image was pulled:\n%s", log)
		}
		b.must(i.ID, "always", images.Access{})
		b.refused("skerry-local:1", "never", images.Access{}, job.ReasonConfiguration, "docker.io/library/skerry-local:1")
		b.refused("skerry.test/absent:1", "never", images.Access{}, job.ReasonConfiguration, "no such image on this machine", "never")
		b.refused("sha256:"+strings.Repeat("0", 64), "always", images.Access{}, job.ReasonConfiguration, "no such image on this machine")
		b.refused("skerry.test/absent:1", "always", images.Access{}, job.ReasonExternal, "skerry.test does not answer")
	})
}

func TestPullFailures(t *testing.T) {
	t.Parallel()
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) {
		b := newBench(t, e)
		b.allow("", "open/app")
		b.allow("", "open/absent")
		other := "arm64"
		if b.e.Arch == other {
			other = "amd64"
		}
		b.registry.Push(t, enginetest.Image{Name: "open/app:other", Arch: other, Env: []string{"APP=" + b.registry.Host}})
		host := b.registry.Host
		b.refused(host+"/open/app:2", "always", images.Access{}, job.ReasonConfiguration, "has no such image")
		b.refused(host+"/open/absent:2", "always", images.Access{}, job.ReasonConfiguration, "has no such image")
		b.refused(host+"/none/app:2", "always", images.Access{}, job.ReasonConfiguration, "refuses it without credentials")
		b.refused(host+"/none/app:2", "always", b.variable("mallory"), job.ReasonConfiguration, `refuses it with the credentials of user "mallory"`)
		b.refused("Bad/name", "always", images.Access{}, job.ReasonConfiguration, "Bad/name")
		name := b.name("open/app:other")
		_, log := b.must(name, "always", images.Access{})
		if want := "is made for " + other; !strings.Contains(log, want) {
			t.Errorf("the log has no %q:\n%s", want, log)
		}
		var buf lockedBuffer
		ask := images.Request{Name: name, Policies: []string{images.Always}, Platform: "linux/" + other, Log: &buf}
		if _, err := b.puller.Get(t.Context(), b.e, ask); err != nil {
			t.Errorf("platform %s: %v\n%s", other, err, &buf)
		}
		if !strings.Contains(buf.String(), "Pulling docker image "+name+" for platform linux/"+other+" ...") {
			t.Error(buf.String())
		}
		ask.Platform = "linux/s390x"
		var f *executor.Failure
		if _, err := b.puller.Get(t.Context(), b.e, ask); !errors.As(err, &f) || f.Reason != job.ReasonConfiguration || !strings.Contains(err.Error(), "not made for linux/s390x") {
			t.Errorf("platform s390x: %v", err)
		}
		ask.Platform = "a/b/c/d"
		if _, err := b.puller.Get(t.Context(), b.e, ask); !errors.As(err, &f) || f.Reason != job.ReasonConfiguration {
			t.Errorf("platform a/b/c/d: %v", err)
		}
		b.registry.Break(http.StatusServiceUnavailable)
		b.refused(host+"/open/app:other", "always", images.Access{}, job.ReasonImagePull, "cannot serve it now")
	})
}

// TestPullIsSharedToldAndCancelled: two jobs that want the same wait for one pull, read how far it is,
// and the pull ends when the last of them is cancelled.
func TestPullIsSharedToldAndCancelled(t *testing.T) {
	t.Parallel()
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) {
		b := newBench(t, e)
		b.puller.Every = 10 * time.Millisecond
		b.allow("", "open/big")
		b.registry.Push(t, enginetest.Image{Name: "open/big:1", Env: []string{"BIG=" + b.registry.Host}, Files: map[string]string{"/" + b.registry.Host: b.registry.Host}})
		name := b.name("open/big:1")
		began, given := make(chan struct{}, 100), make(chan struct{})
		b.registry.Hold(func(q *http.Request) {
			if q.Method == http.MethodGet {
				began <- struct{}{}
				<-given
			}
		})
		stopped := errors.New("the job was cancelled")
		ctx, cancel := context.WithCancelCause(t.Context())
		results := make(chan error, 2)
		for range 2 {
			go func() {
				_, err := b.puller.Get(ctx, b.e, images.Request{Name: name, Policies: []string{images.Always}, Log: &lockedBuffer{}})
				results <- err
			}()
		}
		<-began
		cancel(stopped)
		for range 2 {
			if err := <-results; !errors.Is(err, stopped) {
				t.Errorf("cancelled: %v", err)
			}
		}
		close(given)
		b.registry.Asked()

		release := make(chan struct{})
		b.registry.Hold(func(q *http.Request) {
			if q.Method == http.MethodGet {
				<-release
			}
		})
		logs := [2]lockedBuffer{}
		for i := range 2 {
			go func() {
				_, err := b.puller.Get(t.Context(), b.e, images.Request{Name: name, Policies: []string{images.Always}, Log: &logs[i]})
				results <- err
			}()
		}
		for i := range 2 {
			for !strings.Contains(logs[i].String(), "Pulling docker image "+name+" ... ") && t.Context().Err() == nil {
				time.Sleep(time.Millisecond)
			}
		}
		close(release)
		for range 2 {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
		pulls := 0
		for _, a := range b.registry.Asked() {
			if strings.HasPrefix(a, "GET ") {
				pulls++
			}
		}
		if pulls > 1 {
			t.Errorf("%d pulls for two jobs:\n%s", pulls, &logs[0])
		}
	})
}
