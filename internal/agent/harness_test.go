package agent_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/agent"
	"gitlab.com/skerry/skerry/internal/agent/agenttest"
	"gitlab.com/skerry/skerry/internal/agent/client"
	"gitlab.com/skerry/skerry/internal/agent/embedded"
	"gitlab.com/skerry/skerry/internal/agent/spool"
	"gitlab.com/skerry/skerry/internal/agent/wire"
	"gitlab.com/skerry/skerry/internal/stage"
)

// patience is how long a test waits for what must come, on a busy machine.
const patience = 2 * time.Minute

// place is a directory with a real agent.
type place struct {
	t   testing.TB
	dir string
	cmd *exec.Cmd
}

func newPlace(t testing.TB, c agent.Config) *place {
	t.Helper()
	p := &place{t: t, dir: t.TempDir()}
	if err := c.Write(p.dir); err != nil {
		t.Fatal(err)
	}
	if _, err := embedded.Place(agenttest.Build(t), p.dir); err != nil {
		t.Fatal(err)
	}
	p.start()
	return p
}

// start starts the agent as an executor does: no argument, no directory, an empty environment but PATH.
func (p *place) start() {
	p.t.Helper()
	p.cmd = exec.Command(filepath.Join(p.dir, "agent"))
	p.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + p.dir}
	p.cmd.Dir = "/"
	p.cmd.Stderr = p.t.Output()
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	cmd := p.cmd
	p.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
}

func (p *place) kill() {
	p.t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		p.t.Fatal(err)
	}
	_ = p.cmd.Wait()
}

// dial waits for the socket as an executor's Dial does.
func (p *place) dial(ctx context.Context) (net.Conn, error) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		c, err := agent.Dial(filepath.Join(p.dir, "sock"))
		if err == nil {
			return c, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, err
		}
	}
}

func (p *place) client(epoch int64) *client.Client {
	c := client.New(p.dial, epoch)
	p.t.Cleanup(c.Close)
	return c
}

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// script is a stage that runs lines.
func script(id string, lines ...string) stage.Spec {
	return stage.Spec{ID: id, Grace: 5 * time.Second, Script: &stage.Script{Lines: lines, Shell: "sh", Umask: -1}}
}

// spec gives a stage the directory of its place.
func (p *place) spec(s stage.Spec) stage.Spec {
	s.Dir = filepath.Join(p.dir, "project")
	return s
}

func (p *place) run(c *client.Client, s stage.Spec) stage.Result {
	p.t.Helper()
	p.begin(c, s)
	res, err := c.Wait(within(p.t), s.ID)
	if err != nil {
		p.t.Fatal(err)
	}
	return res
}

func (p *place) begin(c *client.Client, s stage.Spec) {
	p.t.Helper()
	again(p.t, func(ctx context.Context) error {
		_, err := c.Start(ctx, p.spec(s))
		return err
	})
}

// again asks until the agent can be reached: a client learns that an agent has been killed by a request that fails, or before.
func again(t testing.TB, ask func(context.Context) error) {
	t.Helper()
	ctx := within(t)
	for {
		err := ask(ctx)
		if err == nil {
			return
		}
		if !errors.Is(err, client.ErrUnreachable) || ctx.Err() != nil {
			t.Fatal(err)
		}
	}
}

// output reads a stage's whole spool and returns what went to standard output and error.
func (p *place) output(c *client.Client, id string) string {
	p.t.Helper()
	r, err := c.OpenSpool(within(p.t), id, 0)
	if err != nil {
		p.t.Fatal(err)
	}
	defer r.Close()
	var out bytes.Buffer
	for d := spool.NewDecoder(r, 0); ; {
		rec, err := d.Next()
		if errors.Is(err, io.EOF) {
			return out.String()
		}
		if err != nil {
			p.t.Fatal(err)
		}
		if rec.Stream == spool.Stdout || rec.Stream == spool.Stderr {
			out.Write(rec.Data)
		}
	}
}

// until reads a stage's spool until its output holds text, which is how a test learns that a script got there.
func (p *place) until(c *client.Client, id, text string) string {
	p.t.Helper()
	r, err := c.OpenSpool(within(p.t), id, 0)
	if err != nil {
		p.t.Fatal(err)
	}
	defer r.Close()
	var out strings.Builder
	for d := spool.NewDecoder(r, 0); ; {
		rec, err := d.Next()
		if err != nil {
			p.t.Fatalf("%v before %q came; so far %q", err, text, out.String())
		}
		out.Write(rec.Data)
		if strings.Contains(out.String(), text) {
			return out.String()
		}
	}
}

// pidAfter finds "WORD PID" in output.
func pidAfter(t testing.TB, output, word string) int {
	t.Helper()
	_, rest, _ := strings.Cut(output, "\n"+word+" ")
	num, _, _ := strings.Cut(rest, "\n")
	pid, err := strconv.Atoi(num)
	if err != nil {
		t.Fatalf("no %q with a pid in %q", word, output)
	}
	return pid
}

// alive reports whether a process runs (a zombie does not).
func alive(pid int) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return !strings.HasPrefix(rest, "Z") && !strings.HasPrefix(rest, "X")
}

// gone waits until a process that nobody else can wait for has ended.
func gone(t testing.TB, pid int) {
	t.Helper()
	ctx := within(t)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for alive(pid) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("process %d lives on", pid)
		}
	}
}

func handover(t testing.TB, c *client.Client, h wire.Handover) {
	t.Helper()
	h.Job = "owner/0123"
	again(t, func(ctx context.Context) error { return c.Handover(ctx, h) })
}
