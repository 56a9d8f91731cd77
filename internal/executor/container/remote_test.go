package container_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/agent/client"
	"gitlab.com/skerry/skerry/internal/agent/wire"
	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/container"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
	"gitlab.com/skerry/skerry/internal/executor/container/enginetest"
	"gitlab.com/skerry/skerry/internal/job"
	"gitlab.com/skerry/skerry/internal/stage"
)

// TestConformanceRemote takes the engines for ones on other machines: the agent comes by a volume and is
// reached through the engine.
func TestConformanceRemote(t *testing.T) {
	t.Parallel()
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) { conform(t, e, true) })
}

// TestTLS reaches the engines through a port that asks for a client certificate.
func TestTLS(t *testing.T) {
	t.Parallel()
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) {
		o := options(t, e)
		dir, server := enginetest.Certificates(t)
		o.Engine = engineapi.Address{Host: e.Proxy(t, server).Host, CertPath: dir, Verify: true}
		p := newProcess(t, o, &container.Host{Remote: true})
		env := p.prepare(t, executor.NewRef("fedcba9876543210"))
		for _, place := range []executor.Place{executor.Helper, executor.Build} {
			runs(t, env, place, 1)
		}
	})
}

// TestEngineAway stops the engine while a job runs: a runner that adopts it meanwhile reaches its agents,
// and when the engine is back all of it is removed.
func TestEngineAway(t *testing.T) {
	t.Parallel()
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) {
		o := options(t, e)
		proxy := e.Proxy(t, nil)
		o.Engine = engineapi.Address{Host: proxy.Host}
		ref := executor.NewRef("fedcba9876543210")
		env := newProcess(t, o, &container.Host{}).prepare(t, ref)
		for _, place := range []executor.Place{executor.Helper, executor.Build} {
			runs(t, env, place, 1)
		}
		proxy.Stop()
		runs(t, env, executor.Build, 1)
		next := newProcess(t, o, &container.Host{})
		adopted, err := next.Adopt(t.Context(), ref)
		if err != nil {
			t.Fatal("Adopt without an engine: ", err)
		}
		for _, place := range []executor.Place{executor.Helper, executor.Build} {
			runs(t, adopted, place, 2)
		}
		closed := make(chan error, 1)
		go func() { closed <- adopted.Close(t.Context()) }()
		proxy.Start(t)
		if err := <-closed; err != nil {
			t.Error("Close while the engine comes back: ", err)
		}
	})
}

// TestEngineBackForRemote breaks the connection to the agent with the engine: it is made again.
func TestEngineBackForRemote(t *testing.T) {
	t.Parallel()
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) {
		o := options(t, e)
		proxy := e.Proxy(t, nil)
		o.Engine = engineapi.Address{Host: proxy.Host}
		env := newProcess(t, o, &container.Host{Remote: true}).prepare(t, executor.NewRef("fedcba9876543210"))
		c := connect(t, env, executor.Build, 1)
		begin(t, c, "before", "echo before; sleep 1; exit 3")
		proxy.Stop()
		proxy.Start(t)
		for {
			res, err := c.Wait(t.Context(), "before")
			if err != nil && t.Context().Err() == nil { // as the engine does: the agent goes on
				continue
			}
			if res.ExitCode != 3 {
				t.Errorf("%+v, %v, want exit code 3", res, err)
			}
			return
		}
	})
}

// TestNotLocal proves that an engine which cannot see the runner's directories is found out.
func TestNotLocal(t *testing.T) {
	t.Parallel()
	for _, e := range enginetest.All() {
		t.Run(e.Name, func(t *testing.T) {
			t.Parallel()
			if e.User(t) == nil {
				t.Skip("the engine is this user's own")
			}
			said := &lines{} // others may still be writing
			o := options(t, e)
			host := &container.Host{}
			t.Cleanup(func() { _ = host.Close(context.Background()) })
			p := process{container.New(o, host, slog.New(slog.NewTextHandler(said, nil)))}
			env := p.prepare(t, executor.NewRef("fedcba9876543210"))
			runs(t, env, executor.Helper, 1)
			runs(t, env, executor.Build, 1)
			if !strings.Contains(said.String(), "shares no directories") {
				t.Errorf("the agents were reached without a word of how: %s", said)
			}
		})
	}
}

// TestNoEngine gets a clear error, in bounded time, and leaves nothing.
func TestNoEngine(t *testing.T) {
	t.Parallel()
	o := container.Options{
		Engine: engineapi.Address{Host: "tcp://127.0.0.1:1", CertPath: "/no/such/directory", Verify: true}, Dir: t.TempDir(), Agent: "/no/agent",
		BuildsDir: "/builds", CacheDir: "/cache", Image: busybox,
	}
	p := newProcess(t, o, &container.Host{})
	env := p.prepare(t, executor.NewRef("fedcba9876543210"))
	if _, err := env.Dial(t.Context(), executor.Helper); err == nil || !strings.Contains(err.Error(), "/no/such/directory") {
		t.Errorf("%v, want the reason", err)
	}
}

// process is a runner of a test.
type process struct{ *container.Executor }

func newProcess(t *testing.T, o container.Options, host *container.Host) process {
	t.Helper()
	t.Cleanup(func() {
		if err := host.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return process{container.New(o, host, slog.New(slog.NewTextHandler(t.Output(), nil)))}
}

func (p process) prepare(t *testing.T, ref executor.Ref) executor.Environment {
	t.Helper()
	env, err := p.Prepare(t.Context(), ref, &job.Job{ID: 1, Token: "token", Name: "test"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := env.Close(c); err != nil {
			t.Error(err)
		}
	})
	return env
}

func connect(t *testing.T, env executor.Environment, place executor.Place, epoch int64) *client.Client {
	t.Helper()
	c := client.New(func(ctx context.Context) (net.Conn, error) { return env.Dial(ctx, place) }, epoch)
	t.Cleanup(c.Close)
	if err := c.Handover(t.Context(), wire.Handover{Job: "test", Left: time.Hour, Lease: time.Hour}); err != nil {
		t.Fatalf("hand over to %s: %v", place, err)
	}
	return c
}

func begin(t *testing.T, c *client.Client, id string, lines ...string) {
	t.Helper()
	spec := stage.Spec{ID: id, Dir: "/builds/test", Grace: time.Second, Script: &stage.Script{Lines: lines, Umask: -1}}
	if _, err := c.Start(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
}

// runs runs a script in a place.
func runs(t *testing.T, env executor.Environment, place executor.Place, epoch int64) {
	t.Helper()
	c := connect(t, env, place, epoch)
	id := executor.NewRef("x").ID
	begin(t, c, id, "exit 7")
	if res, err := c.Wait(t.Context(), id); err != nil || res.ExitCode != 7 {
		t.Errorf("in %s: %+v, %v, want exit code 7", place, res, err)
	}
}
