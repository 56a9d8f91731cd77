package agent_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/agent"
	"gitlab.com/skerry/skerry/internal/agent/client"
	"gitlab.com/skerry/skerry/internal/stage"
	"gitlab.com/skerry/skerry/internal/terminal"
)

// shown collects what a terminal shows until it ends or done says that it is enough.
func shown(t *testing.T, term *client.Terminal, done func(out string) bool) (out, errOut string, ended *terminal.Ended) {
	t.Helper()
	var o, e strings.Builder
	for {
		var x terminal.Ended
		kind, data, err := term.Receive()
		if err != nil {
			t.Fatalf("after %q, %q: %v", o.String(), e.String(), err)
		}
		switch kind {
		case terminal.Output:
			o.Write(data)
		case terminal.ErrorOutput:
			e.Write(data)
		case terminal.Exit:
			if _, err := fmt.Sscanf(string(data), `{"code":%d}`, &x.Code); err != nil {
				t.Fatalf("exit %q: %v", data, err)
			}
			return o.String(), e.String(), &x
		default:
			t.Fatalf("message %q", kind)
		}
		if done != nil && done(o.String()) {
			return o.String(), e.String(), nil
		}
	}
}

func (p *place) terminal(c *client.Client, spec stage.Terminal) *client.Terminal {
	p.t.Helper()
	term, err := c.Terminal(within(p.t), spec)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(term.Close)
	return term
}

func TestTerminalIsAShellOfTheJob(t *testing.T) {
	t.Parallel()
	p := newPlace(t, agent.Config{})
	dir := filepath.Join(p.dir, "project")
	p.run(p.client(1), script("one", "true"))
	secret := filepath.Join(p.dir, "project.tmp", "KEY_FILE")
	envFile := filepath.Join(p.dir, "project.tmp", "env")
	if err := os.MkdirAll(filepath.Dir(envFile), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(envFile, []byte("FROM_STEP=yes\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	term := p.terminal(p.client(1), stage.Terminal{
		TTY: true, Rows: 33, Cols: 101, Shell: "sh", Dir: dir, EnvFile: envFile,
		Env: []stage.Var{{Key: "PS1", Value: "ready> "}, {Key: "JOB", Value: "value"}, {Key: "KEY_FILE", Value: "in the file", File: secret}},
	})
	shown(t, term, func(out string) bool { return strings.HasSuffix(out, "ready> ") })
	if err := term.Send(terminal.Input, []byte("stty size; pwd; echo $JOB.$FROM_STEP; cat $KEY_FILE; echo; tty >/dev/null && echo is a tty\n")); err != nil {
		t.Fatal(err)
	}
	out, _, _ := shown(t, term, func(out string) bool { return strings.HasSuffix(out, "a tty\r\nready> ") })
	for _, want := range []string{"33 101\r\n", dir + "\r\n", "value.yes\r\n", "in the file\r\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in %q", want, out)
		}
	}
	if err := term.SendSize(terminal.Size{Rows: 7, Cols: 9}); err != nil {
		t.Fatal(err)
	}
	if err := term.Send(terminal.Input, []byte("stty size; (sleep 1000 &) ; exit 7\n")); err != nil {
		t.Fatal(err)
	}
	out, _, ended := shown(t, term, nil)
	if !strings.Contains(out, "7 9\r\n") || ended.Code != 7 {
		t.Errorf("%q, %+v", out, ended)
	}
}

func TestProgramWithoutTerminal(t *testing.T) {
	t.Parallel()
	p := newPlace(t, agent.Config{})
	c := p.client(1)
	term := p.terminal(c, stage.Terminal{Args: []string{"sh", "-c", "cat; echo to standard error >&2; exit 5"}, Dir: "/nowhere", Base: p.dir})
	big := bytes.Repeat([]byte("0123456789abcdef"), 10<<10)
	sent := make(chan error, 1)
	go func() { sent <- errors.Join(term.Send(terminal.Input, big), term.Send(terminal.InputEnd, nil)) }()
	out, errOut, ended := shown(t, term, nil)
	if err := <-sent; err != nil || out != string(big) || errOut != "to standard error\n" || ended.Code != 5 {
		t.Errorf("%v, %d bytes, %q, %+v", err, len(out), errOut, ended)
	}
	var refused *client.RefusedError
	if _, err := c.Terminal(within(t), stage.Terminal{Args: []string{"no-such-program"}}); !errors.As(err, &refused) || !strings.Contains(err.Error(), "no-such-program") {
		t.Errorf("a program that is not there: %v", err)
	}
}

// What a program writes as soon as it is started comes once, and after the answer that it has been started.
func TestProgramThatWritesAtOnce(t *testing.T) {
	t.Parallel()
	p := newPlace(t, agent.Config{})
	c := p.client(1)
	for range 100 {
		term := p.terminal(c, stage.Terminal{Args: []string{"echo", "at once"}, Dir: "/nowhere", Base: p.dir})
		if out, _, ended := shown(t, term, nil); out != "at once\n" || ended.Code != 0 {
			t.Fatalf("%q, %+v", out, ended)
		}
	}
}

// A terminal that nobody is at any more, or of an older runner, leaves nothing; one that is open when a stage ends
// stays, and does not keep from being ended what the stage left.
func TestTerminalsEnd(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(p *place, term *client.Terminal){
		"closed": func(_ *place, term *client.Terminal) { term.Close() },
		"fenced": func(p *place, _ *client.Terminal) {
			if err := p.client(2).Lease(within(p.t)); err != nil {
				p.t.Error(err)
			}
		},
		"shutdown": func(p *place, _ *client.Terminal) {
			if err := p.client(1).Shutdown(within(p.t)); err != nil {
				p.t.Error(err)
			}
		},
		"killed": func(p *place, _ *client.Terminal) { p.kill(); p.start(); _ = p.client(1).Lease(within(p.t)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t, agent.Config{})
			term := p.terminal(p.client(1), stage.Terminal{TTY: true, Shell: "bash", Env: []stage.Var{{Key: "PS1", Value: "ready> "}}})
			if err := term.Send(terminal.Input, []byte("stty -echo; trap '' HUP; setsid sh -c 'echo pid $$; exec sleep 1000' & echo pid $$\n")); err != nil {
				t.Fatal(err)
			}
			out, _, _ := shown(t, term, func(out string) bool { return len(pidsIn(t, out)) == 2 })
			p.run(p.client(1), script("stage", treeScript(t, "exit 0")...))
			pids := pidsIn(t, out)
			for _, pid := range pids {
				if !alive(pid) {
					t.Fatalf("process %d of the terminal ended with a stage", pid)
				}
			}
			for _, pid := range treePIDs(t, p, p.client(1), "stage") {
				if alive(pid) {
					t.Errorf("process %d of the stage was not ended", pid)
				}
			}
			end(p, term)
			for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
				if !alive(pids[0]) && !alive(pids[1]) {
					return
				}
				if time.Now().After(deadline) {
					t.Fatal("processes of the terminal live on")
				}
			}
		})
	}
}

// pidsIn lists the processes that out names in whole lines.
func pidsIn(t *testing.T, out string) (pids []int) {
	t.Helper()
	for _, m := range regexp.MustCompile(`pid (\d+)\r?\n`).FindAllStringSubmatch(out, -1) {
		pid, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	return pids
}

// A peer that does not read makes the program wait, and costs neither the agent's memory nor its other work.
func TestTerminalThatIsNotRead(t *testing.T) {
	t.Parallel()
	p := newPlace(t, agent.Config{})
	for range 16 {
		p.terminal(p.client(1), stage.Terminal{Args: []string{"yes"}})
	}
	c := p.client(1)
	var refused *client.RefusedError
	if _, err := c.Terminal(within(t), stage.Terminal{Args: []string{"true"}}); !errors.As(err, &refused) || refused.Status != 503 {
		t.Errorf("the 17th terminal: %v", err)
	}
	if res := p.run(c, script("stage", "true")); res.Reason != stage.Success {
		t.Errorf("%+v", res)
	}
	if rss := residentKiB(t, p.cmd.Process.Pid); rss > 200<<10 {
		t.Errorf("the agent has %d KiB", rss)
	}
}

func residentKiB(t *testing.T, pid int) (kib int) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "VmRSS:")
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		t.Fatal(err)
	}
	return kib
}

func TestHostileTerminalMessages(t *testing.T) {
	t.Parallel()
	p := newPlace(t, agent.Config{})
	var begin bytes.Buffer
	if err := terminal.New(nil, &begin, nil).SendJSON(terminal.Begin, stage.Terminal{Args: []string{"sleep", "1000"}}); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		body string
		code int // of the answer; 0: the stream is reset
	}{
		"a huge message":                {begin.String() + "i\xff\xff\xff\xff", 0},
		"what only a program may send":  {begin.String() + "x\x00\x00\x00\x00", 0},
		"half a message":                {begin.String() + "i\x00", 0},
		"a wrong size":                  {begin.String() + "r\x00\x00\x00\x01x", 0},
		"a huge beginning":              {"b\xff\xff\xff\xff", 400},
		"a beginning that is no object": {"b\x00\x00\x00\x01x", 400},
		"no beginning":                  {"i\x00\x00\x00\x01x", 400},
		"nothing":                       {"", 400},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if code, body := p.raw(t, "POST", "/v1/terminals", headers(), []byte(c.body)); code != c.code {
				t.Errorf("%d %s, want %d", code, body, c.code)
			}
		})
	}
}
