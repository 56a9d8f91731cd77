package container_test

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/agent/client"
	"gitlab.com/skerry/skerry/internal/agent/spool"
	"gitlab.com/skerry/skerry/internal/agent/wire"
	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/container"
	"gitlab.com/skerry/skerry/internal/executor/container/enginetest"
	"gitlab.com/skerry/skerry/internal/job"
	"gitlab.com/skerry/skerry/internal/stage"
)

func TestMain(m *testing.M) {
	enginetest.Parallel(2)
	os.Exit(m.Run())
}

// bench is what the tests of one engine share, so that not each has to make a network of its own.
type bench struct {
	e     enginetest.Engine
	o     container.Options
	host  *container.Host
	owner executor.OwnerID
}

func newBench(t *testing.T, e enginetest.Engine) *bench {
	t.Helper()
	zero := 0
	b := &bench{e: e, o: options(t, e), host: &container.Host{}, owner: executor.OwnerID(executor.NewRef("x").ID)}
	b.o.Umask = &zero
	b.dropVolumes(t)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := b.host.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return b
}

// run is a job in an environment of its own, driven as the engine drives one.
type run struct {
	t   *testing.T
	o   container.Options
	j   *job.Job
	ref executor.Ref
	env executor.Environment
	log said
}

// said collects what the job's author is told.
type said struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *said) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *said) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// theJob is a job of an image; variables are KEY=VALUE.
func theJob(image string, variables ...string) *job.Job {
	j := &job.Job{ID: 1, ProjectID: 2, Variables: job.Variables{{Key: "CI_PROJECT_DIR", Value: "/builds/group/project"}}}
	if image != "" {
		j.Image = &job.Image{Name: image}
	}
	for _, v := range variables {
		k, value, _ := strings.Cut(v, "=")
		j.Variables = append(j.Variables, job.Variable{Key: k, Value: value})
	}
	return j
}

const patience = 3 * time.Minute

// prepare begins a job; everything of it is gone when the test ends.
func (b *bench) prepare(t *testing.T, o container.Options, j *job.Job) *run {
	t.Helper()
	r := &run{t: t, o: o, j: j, ref: executor.NewRef(b.owner)}
	e := container.New(o, b.host, quiet(t))
	env, err := e.Prepare(t.Context(), r.ref, j, &r.log)
	if err != nil {
		t.Fatal(err)
	}
	r.env = env
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := env.Close(ctx); err != nil {
			t.Error(err)
		}
		if left, err := os.ReadDir(o.Dir); err == nil {
			for _, entry := range left {
				if entry.Name() == r.ref.ID {
					t.Errorf("%s is left", entry.Name())
				}
			}
		}
	})
	if o.Nix != nil { // as with every job, whose sources come before its script
		_, _, _ = r.dial(executor.Helper) // who asks for the place after this is told why it is not there
	}
	return r
}

func quiet(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), nil))
}

// dial reaches the agent of place.
func (r *run) dial(place executor.Place) (*client.Client, wire.Hello, error) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	c := client.New(func(ctx context.Context) (net.Conn, error) { return r.env.Dial(ctx, place) }, 1)
	r.t.Cleanup(c.Close)
	hello, err := c.Hello(ctx)
	if err == nil {
		err = c.Handover(ctx, wire.Handover{Job: r.ref.String(), Left: time.Hour, Lease: time.Hour})
	}
	return c, hello, err
}

// stage runs a stage and returns its output and result.
func (r *run) stage(place executor.Place, spec stage.Spec) (string, stage.Result) {
	r.t.Helper()
	c, _, err := r.dial(place)
	if err != nil {
		r.t.Fatalf("reach the %s place: %v\n%s", place, err, r.log.String())
	}
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	if spec.ID == "" {
		spec.ID = "s-" + executor.NewRef("x").ID
	}
	if _, err := c.Start(ctx, spec); err != nil {
		r.t.Fatal(err)
	}
	res, err := c.Wait(ctx, spec.ID)
	if err != nil {
		r.t.Fatal(err)
	}
	body, err := c.OpenSpool(ctx, spec.ID, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	defer body.Close()
	var out strings.Builder
	for d := spool.NewDecoder(body, 0); ; {
		rec, err := d.Next()
		if err != nil {
			r.t.Fatal(err)
		}
		if rec.Stream == spool.End {
			return out.String(), res
		}
		out.Write(rec.Data)
	}
}

// script runs one line in a place and returns what it printed; it has to succeed.
func (r *run) script(place executor.Place, line string) string {
	r.t.Helper()
	out, res := r.stage(place, stage.Spec{
		Dir: "/builds/group/project", Base: "/builds", Mixed: true, Script: &stage.Script{Lines: []string{line}, Umask: -1},
	})
	if res.Reason != stage.Success {
		r.t.Fatalf("%s in %s: %+v\n%s", line, place, res, out)
	}
	_, said, _ := strings.Cut(out, line+"\x1b[0;m\n")
	return strings.TrimSpace(said)
}

// image gives the engine an image under a name of its own.
func image(t *testing.T, e enginetest.Engine, i enginetest.Image) string {
	t.Helper()
	i.Name = "skerry.test/" + strings.ToLower(strings.NewReplacer("/", "-", "_", "-", "#", "-", "$", "").Replace(t.Name())) + ":latest"
	e.Load(t, i)
	api := e.Client(t)
	t.Cleanup(func() { _, _ = api.ImageRemove(context.Background(), i.Name, removal) })
	return i.Name
}
