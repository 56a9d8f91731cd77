package images_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
	"gitlab.com/skerry/skerry/internal/executor/container/enginetest"
	"gitlab.com/skerry/skerry/internal/executor/container/images"
	"gitlab.com/skerry/skerry/internal/job"
)

// bench is one runner with one engine and a registry of its own.
type bench struct {
	t        *testing.T
	e        *engineapi.Engine
	api      *client.Client
	registry *enginetest.Registry
	puller   *images.Puller
	clock    atomic.Int64
}

func newBench(t *testing.T, e enginetest.Engine) *bench {
	t.Helper()
	b := &bench{t: t, e: e.Connect(t), api: e.Client(t), registry: enginetest.NewRegistry(t, e)}
	b.puller = b.runner()
	return b
}

// runner is a runner with a state of its own.
func (b *bench) runner() *images.Puller {
	b.t.Helper()
	r, err := images.OpenRecord(filepath.Join(b.t.TempDir(), "access.json"), func() time.Time { return time.Unix(b.clock.Load(), 0) })
	if err != nil {
		b.t.Fatal(err)
	}
	return &images.Puller{Record: r, Backoff: func(int) time.Duration { return time.Millisecond }}
}

// name is an image of the registry, removed when the test ends.
func (b *bench) name(image string) string {
	full := b.registry.Host + "/" + image
	b.t.Cleanup(func() {
		// By its ID: what was asked for by a digest has that name, too.
		if i, err := b.api.ImageInspect(context.Background(), full); err == nil {
			_, _ = b.api.ImageRemove(context.Background(), i.ID, client.ImageRemoveOptions{Force: true})
		}
	})
	return full
}

// get asks for an image and returns what the job's author reads.
func (b *bench) get(name, policies string, a images.Access) (*engineapi.Image, string, error) {
	var log lockedBuffer
	i, err := b.puller.Get(b.t.Context(), b.e, images.Request{Name: name, Policies: strings.Fields(policies), Access: a, Log: &log})
	return i, log.String(), err
}

func (b *bench) must(name, policies string, a images.Access) (*engineapi.Image, string) {
	b.t.Helper()
	i, log, err := b.get(name, policies, a)
	if err != nil {
		b.t.Fatalf("%s with %s: %v\n%s", name, policies, err, log)
	}
	return i, log
}

func (b *bench) refused(name, policies string, a images.Access, reason job.Reason, words ...string) {
	b.t.Helper()
	i, log, err := b.get(name, policies, a)
	var f *executor.Failure
	switch {
	case err == nil:
		b.t.Errorf("%s with %s was given: %s\n%s", name, policies, i.ID, log)
		return
	case !errors.As(err, &f) || f.Reason != reason:
		b.t.Errorf("%s with %s: %v is not %s", name, policies, err, reason)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			b.t.Errorf("%s with %s: %v does not say %q", name, policies, err, w)
		}
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (b *bench) payload(user, project string) images.Access {
	return images.Access{
		Payload: []job.Credential{{Type: "registry", URL: b.registry.Host, Username: user, Password: user + "'s password"}},
		Holder:  "project " + project,
	}
}

func (b *bench) variable(user string) images.Access {
	auth := base64.StdEncoding.EncodeToString([]byte(user + ":" + user + "'s password"))
	return images.Access{AuthConfig: fmt.Sprintf(`{"auths": {%q: {"auth": %q}}}`, b.registry.Host, auth), Holder: "project of " + user}
}

func (b *bench) allow(user, repository string) {
	b.registry.Allow(user, user+"'s password", repository)
}
