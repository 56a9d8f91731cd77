// Package executortest is the conformance suite that every executor passes: the contract of package
// executor, as tests. It runs real stages through real agents.
package executortest

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/agent/client"
	"gitlab.com/skerry/skerry/internal/agent/spool"
	"gitlab.com/skerry/skerry/internal/agent/wire"
	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/job"
	"gitlab.com/skerry/skerry/internal/stage"
)

// Harness is what the suite needs of an executor's own test.
type Harness struct {
	// New returns an executor over the same machine or engine as the calls before it: as another
	// process of the same runner would make it.
	New func(t *testing.T) executor.Executor
	// Kill ends the agent of place in ref with KILL, as the kernel's out-of-memory killer would.
	Kill func(t *testing.T, ref executor.Ref, place executor.Place)
	// Dir is a directory in the place that stages may use.
	Dir func(t *testing.T) string
	// Scripted is set for an executor whose agents run no shells: only what does not need one is tested.
	Scripted bool
}

// limit bounds every single step of the suite. Nothing that works comes near it on a busy machine, either.
const limit = 2 * time.Minute

// Run runs the suite.
func Run(t *testing.T, h Harness) {
	t.Run("prepare, dial and run in both places", h.testRun)
	t.Run("prepare again continues", h.testPrepareAgain)
	t.Run("another process adopts", h.testAdopt)
	t.Run("adopting nothing is ErrGone", h.testAdoptNothing)
	t.Run("close leaves nothing and may be repeated", h.testClose)
	t.Run("close ends a stage that runs", h.testCloseRunning)
	t.Run("reconcile removes what nobody keeps", h.testReconcile)
	t.Run("dial ends with its context", h.testDialContext)
	t.Run("a killed agent is diagnosed", h.testKill)
	t.Run("many environments at once", h.testMany)
}

func owner() executor.OwnerID { return executor.OwnerID(executor.NewRef("x").ID) }

func minimalJob() *job.Job { return &job.Job{ID: 1, Token: "token", Name: "conformance"} }

func ctx(t *testing.T) context.Context {
	t.Helper()
	c, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return c
}

// prepare makes an environment that is closed when the test ends.
func prepare(t *testing.T, e executor.Executor, ref executor.Ref) executor.Environment {
	t.Helper()
	env, err := e.Prepare(ctx(t), ref, minimalJob(), io.Discard)
	if err != nil {
		t.Fatalf("Prepare: %v", err)
	}
	closeLater(t, env)
	return env
}

func closeLater(t *testing.T, env executor.Environment) {
	t.Helper()
	t.Cleanup(func() {
		c, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		if err := env.Close(c); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
}

// connect hands a job over to the agent of place.
func connect(t *testing.T, env executor.Environment, place executor.Place, epoch int64) *client.Client {
	t.Helper()
	c := client.New(func(ctx context.Context) (net.Conn, error) { return env.Dial(ctx, place) }, epoch)
	t.Cleanup(c.Close)
	hello, err := c.Hello(ctx(t))
	if err != nil {
		t.Fatalf("hello from %s: %v", place, err)
	}
	if hello.Protocol != wire.Protocol {
		t.Fatalf("%s speaks protocol %d, want %d", place, hello.Protocol, wire.Protocol)
	}
	if err := c.Handover(ctx(t), wire.Handover{Job: "conformance", Left: time.Hour, Lease: time.Hour}); err != nil {
		t.Fatalf("hand over to %s: %v", place, err)
	}
	return c
}

// script starts a stage of shell lines.
func (h Harness) script(t *testing.T, c *client.Client, id string, lines ...string) {
	t.Helper()
	spec := stage.Spec{ID: id, Dir: h.Dir(t), Grace: time.Second, Script: &stage.Script{Lines: lines, Umask: -1}}
	if _, err := c.Start(ctx(t), spec); err != nil {
		t.Fatalf("start %s: %v", id, err)
	}
}

// output reads a stage's whole spool.
func output(t *testing.T, c *client.Client, id string) string {
	t.Helper()
	body, err := c.OpenSpool(ctx(t), id, 0)
	if err != nil {
		t.Fatalf("open the spool of %s: %v", id, err)
	}
	defer body.Close()
	var out strings.Builder
	for d := spool.NewDecoder(body, 0); ; {
		rec, err := d.Next()
		if err != nil {
			t.Fatalf("read the spool of %s after %q: %v", id, out.String(), err)
		}
		if rec.Stream == spool.End {
			return out.String()
		}
		out.Write(rec.Data)
	}
}

func wait(t *testing.T, c *client.Client, id string) stage.Result {
	t.Helper()
	res, err := c.Wait(ctx(t), id)
	if err != nil {
		t.Fatalf("wait for %s: %v", id, err)
	}
	return res
}

func (h Harness) testRun(t *testing.T) {
	env := prepare(t, h.New(t), executor.NewRef(owner()))
	for _, place := range []executor.Place{executor.Helper, executor.Build} {
		c := connect(t, env, place, 1)
		if err := env.Diagnose(ctx(t), place); err != nil {
			t.Errorf("Diagnose of a living %s: %v", place, err)
		}
		if h.Scripted {
			continue
		}
		h.script(t, c, "run-"+string(place), "echo from $0; exit 7")
		if res := wait(t, c, "run-"+string(place)); res.Reason != stage.Failed || res.ExitCode != 7 {
			t.Errorf("result in %s: %+v, want exit code 7", place, res)
		}
		if out := output(t, c, "run-"+string(place)); !strings.Contains(out, "from ") {
			t.Errorf("output in %s: %q", place, out)
		}
	}
}

func (h Harness) testPrepareAgain(t *testing.T) {
	ref := executor.NewRef(owner())
	env := prepare(t, h.New(t), ref)
	connect(t, env, executor.Build, 1)
	first := connect(t, env, executor.Helper, 1)
	hello, err := first.Hello(ctx(t))
	if err != nil {
		t.Fatal(err)
	}
	again, err := connect(t, prepare(t, h.New(t), ref), executor.Helper, 2).Hello(ctx(t))
	if err != nil {
		t.Fatal(err)
	}
	if again.PID != hello.PID {
		t.Errorf("the second Prepare made another agent (pid %d, then %d)", hello.PID, again.PID)
	}
}

func (h Harness) testAdopt(t *testing.T) {
	ref := executor.NewRef(owner())
	first := prepare(t, h.New(t), ref)
	for _, place := range []executor.Place{executor.Helper, executor.Build} { // a process that is gone makes nothing any more
		connect(t, first, place, 1)
	}
	env, err := h.New(t).Adopt(ctx(t), ref)
	if err != nil {
		t.Fatalf("Adopt: %v", err)
	}
	closeLater(t, env)
	connect(t, env, executor.Build, 2)
}

func (h Harness) testAdoptNothing(t *testing.T) {
	if _, err := h.New(t).Adopt(ctx(t), executor.NewRef(owner())); !errors.Is(err, executor.ErrGone) {
		t.Errorf("Adopt of nothing: %v, want ErrGone", err)
	}
}

func (h Harness) testClose(t *testing.T) {
	ref := executor.NewRef(owner())
	e := h.New(t)
	env := prepare(t, e, ref)
	connect(t, env, executor.Helper, 1)
	for range 2 {
		if err := env.Close(ctx(t)); err != nil {
			t.Fatalf("Close: %v", err)
		}
	}
	if _, err := h.New(t).Adopt(ctx(t), ref); !errors.Is(err, executor.ErrGone) {
		t.Errorf("Adopt after Close: %v, want ErrGone", err)
	}
	if err := env.Close(ctx(t)); err != nil {
		t.Errorf("Close of what is gone: %v", err)
	}
}

func (h Harness) testCloseRunning(t *testing.T) {
	if h.Scripted {
		return // its agents run nothing that Close could leave behind
	}
	env := prepare(t, h.New(t), executor.NewRef(owner()))
	c := connect(t, env, executor.Build, 1)
	h.script(t, c, "long", "echo begun", "sleep 1000")
	if err := env.Close(ctx(t)); err != nil {
		t.Fatalf("Close: %v", err)
	}
	if _, err := c.Hello(ctx(t)); err == nil {
		t.Error("the agent answers after Close")
	}
}

func (h Harness) testReconcile(t *testing.T) {
	mine, other := owner(), owner()
	kept, left, foreign := executor.NewRef(mine), executor.NewRef(mine), executor.NewRef(other)
	for _, ref := range []executor.Ref{kept, left, foreign} {
		env := prepare(t, h.New(t), ref)
		connect(t, env, executor.Helper, 1)
		connect(t, env, executor.Build, 1)
	}
	e := h.New(t)
	if err := e.Reconcile(ctx(t), mine, []executor.Ref{kept, executor.NewRef(mine)}); err != nil {
		t.Fatalf("Reconcile: %v", err)
	}
	for ref, want := range map[executor.Ref]error{kept: nil, left: executor.ErrGone, foreign: nil} {
		env, err := e.Adopt(ctx(t), ref)
		if !errors.Is(err, want) {
			t.Errorf("Adopt of %v after Reconcile: %v, want %v", ref, err, want)
		}
		if err == nil {
			closeLater(t, env)
		}
	}
}

func (h Harness) testDialContext(t *testing.T) {
	env := prepare(t, h.New(t), executor.NewRef(owner()))
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if conn, err := env.Dial(over, executor.Build); err == nil {
		conn.Close()
	} else if !errors.Is(err, context.Canceled) {
		t.Errorf("Dial with a context that is over: %v", err)
	}
}

func (h Harness) testKill(t *testing.T) {
	ref := executor.NewRef(owner())
	env := prepare(t, h.New(t), ref)
	c := connect(t, env, executor.Build, 1)
	if !h.Scripted {
		h.script(t, c, "long", "echo begun", "sleep 1000")
	}
	h.Kill(t, ref, executor.Build)
	// Either a successor says that the stage was lost, or the place is dead and Diagnose says why.
	res, err := c.Wait(ctx(t), "long")
	switch {
	case err == nil && res.Reason == stage.Lost:
	case err == nil:
		t.Errorf("result of a stage whose agent was killed: %+v", res)
	default:
		if why := env.Diagnose(ctx(t), executor.Build); why == nil {
			t.Errorf("the place is dead (%v), and Diagnose does not say why", err)
		}
	}
}

func (h Harness) testMany(t *testing.T) {
	e := h.New(t)
	for range 8 {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			env := prepare(t, e, executor.NewRef(owner()))
			connect(t, env, executor.Helper, 1)
			connect(t, env, executor.Build, 1)
		})
	}
}
