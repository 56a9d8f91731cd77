package shell_test

import (
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/agent/agenttest"
	"gitlab.com/skerry/skerry/internal/agent/client"
	"gitlab.com/skerry/skerry/internal/agent/spool"
	"gitlab.com/skerry/skerry/internal/agent/wire"
	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/shell"
	"gitlab.com/skerry/skerry/internal/nixstore/nixtest"
	"gitlab.com/skerry/skerry/internal/stage"
)

// place is the agent of an environment that was made for a test.
type place struct {
	t *testing.T
	c *client.Client
	e executor.Environment
}

func newPlace(t *testing.T, o shell.Options) *place {
	t.Helper()
	ref := executor.NewRef(executor.OwnerID(executor.NewRef("").ID))
	env, err := shell.New(o, slog.New(slog.NewTextHandler(t.Output(), nil))).Prepare(t.Context(), ref, nil, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := env.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	c := client.New(func(ctx context.Context) (net.Conn, error) { return env.Dial(ctx, executor.Build) }, 1)
	t.Cleanup(c.Close)
	if err := c.Handover(t.Context(), wire.Handover{Job: ref.String(), Left: time.Hour, Lease: time.Hour}); err != nil {
		t.Fatal(err)
	}
	return &place{t: t, c: c, e: env}
}

// run runs a line as a job does, and returns what it wrote.
func (p *place) run(line string) (string, stage.Result) {
	p.t.Helper()
	spec := stage.Spec{ID: executor.NewRef("x").ID, Dir: "/", Mixed: true, Script: &stage.Script{Lines: []string{line}, Umask: -1}}
	if _, err := p.c.Start(p.t.Context(), spec); err != nil {
		p.t.Fatal(err)
	}
	res, err := p.c.Wait(p.t.Context(), spec.ID)
	if err != nil {
		p.t.Fatal(err)
	}
	body, err := p.c.OpenSpool(p.t.Context(), spec.ID, 0)
	if err != nil {
		p.t.Fatal(err)
	}
	defer body.Close()
	var out strings.Builder
	for d := spool.NewDecoder(body, 0); ; {
		rec, err := d.Next()
		if err != nil {
			p.t.Fatal(err)
		}
		if rec.Stream == spool.End {
			_, said, _ := strings.Cut(out.String(), line+"\x1b[0;m\n")
			return strings.TrimSpace(said), res
		}
		out.Write(rec.Data)
	}
}

// lastLine is the last line of what a job wrote.
func lastLine(said string) string { return said[strings.LastIndexByte(said, '\n')+1:] }

// TestNixJob runs real Nix in a job: its daemon trusts root, who the job is, and still does not trust the job. What the
// job has built is held until it ends.
func TestNixJob(t *testing.T) {
	t.Parallel()
	nixtest.Each(t, func(t *testing.T, n *nixtest.Nix) {
		n.WriteFile(t, "etc/nix.conf", "trusted-users = root\nsandbox = false\nbuild-users-group =\nsubstituters =\nexperimental-features = nix-command flakes\n")
		for _, d := range []string{n.Dir, filepath.Dir(n.Socket())} {
			if err := os.Chmod(d, 0o755); err != nil { //nolint:gosec // as on a machine
				t.Fatal(err)
			}
		}
		n.Daemon(t)
		inside := n.Inside(t)
		for name, dir := range map[string]string{"short": "envs", "long": "envs/" + strings.Repeat("a-long-name/", 12), "odd": "envs of%20it"} {
			dir = filepath.Join(n.Dir, dir)
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			p := newPlace(t, shell.Options{Dir: dir, Agent: agenttest.Build(t), Nix: &shell.Nix{Socket: n.Socket()}})
			built, res := p.run(inside + ` nix-build --no-out-link -E 'derivation { name = "` + name + `"; system = builtins.currentSystem; builder = "/bin/sh"; args = ["-c" "echo ` + name + ` > $out"]; }'`)
			path := lastLine(built)
			if res.Reason != stage.Success || !strings.HasSuffix(path, "-"+name) {
				t.Fatalf("%s: %+v\n%s", name, res, built)
			}
			for line, want := range map[string]string{
				inside + " nix-store --gc":                        "Skerry itself collects",
				inside + " nix-store --delete " + path:            "Skerry",
				"NIX_REMOTE=daemon " + inside + " nix-store --gc": "Skerry itself collects",
			} {
				if said, _ := p.run(line); !strings.Contains(said, want) {
					t.Errorf("%s: %s says %s", name, line, said)
				}
			}
			if n.Version == "2.26" {
				if said, _ := p.run(inside + " nix store info --json"); !strings.Contains(said, `"trusted":0`) {
					t.Errorf("%s: %s", name, said)
				}
			}
			n.Must(t, nixtest.Direct(), "nix-store", "--gc")
			if _, err := os.Stat(filepath.Join(n.Dir, path)); err != nil {
				t.Errorf("%s: collected beneath a job: %v", name, err)
			}
			u, err := p.c.Nix(t.Context())
			if err != nil || u.Built.Paths != 1 || u.Refused == 0 {
				t.Errorf("%s: the account is %+v, %v", name, u, err)
			}
			if err := p.e.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			for end := time.Now().Add(3 * time.Minute); ; { // the daemon notices after a moment that the job's connections are closed
				n.Must(t, nixtest.Direct(), "nix-store", "--gc")
				if _, err := os.Stat(filepath.Join(n.Dir, path)); err != nil {
					break
				}
				if time.Now().After(end) {
					t.Fatalf("%s: held after the job's end", name)
				}
			}
		}
	})
}

// TestNixOtherUser has jobs run as another user than the runner's: so does their gateway.
func TestNixOtherUser(t *testing.T) {
	t.Parallel()
	n := nixtest.New(t, "2.26")
	n.WriteFile(t, "etc/nix.conf", "trusted-users = root\nsandbox = false\nbuild-users-group =\nsubstituters =\nexperimental-features = nix-command flakes\n")
	dir := filepath.Join(n.Dir, "envs")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{n.Dir, filepath.Dir(n.Socket())} {
		if err := os.Chmod(d, 0o755); err != nil { //nolint:gosec // as on a machine
			t.Fatal(err)
		}
	}
	n.Daemon(t)
	p := newPlace(t, shell.Options{Dir: dir, Agent: agenttest.Build(t), User: "daemon", Nix: &shell.Nix{Socket: n.Socket()}})
	said, _ := p.run(`stat -c '%U %a' "$NIX_DAEMON_SOCKET_PATH"; echo "$NIX_REMOTE"`)
	remote := strings.Replace(lastLine(said), n.Dir, "/mnt", 1)
	if !strings.HasPrefix(said, "daemon 666") || !strings.HasPrefix(remote, "unix:///mnt/envs/") {
		t.Fatal(said)
	}
	if said := n.Must(t, []string{"NIX_CONF_DIR=/mnt/jobetc", "NIX_REMOTE=" + remote}, "nix", "store", "info", "--json"); !strings.Contains(said, `"trusted":0`) {
		t.Error(said)
	}
}

// TestNixEnvironment looks at what a job's processes are told, and at what is made on the machine: nothing.
func TestNixEnvironment(t *testing.T) {
	t.Parallel()
	nix := filepath.Join(t.TempDir(), "nix")
	if err := os.WriteFile(nix, nil, 0o755); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	_, before := os.Stat("/etc/nix")
	p := newPlace(t, shell.Options{Dir: t.TempDir(), Agent: agenttest.Build(t), Nix: &shell.Nix{Socket: "/nonexistent/socket", Path: true, Programs: []string{nix}}})
	said, _ := p.run(`env | grep ^NIX_; test -S "$NIX_DAEMON_SOCKET_PATH" && echo there`)
	if !strings.Contains(said, "/place/nix.sock") || !strings.Contains(said, "NIX_REMOTE=") || lastLine(said) != "there" {
		t.Error(said)
	}
	if _, after := os.Stat("/etc/nix"); (before == nil) != (after == nil) {
		t.Error("a job made /etc/nix")
	}
	without := newPlace(t, shell.Options{Dir: t.TempDir(), Agent: agenttest.Build(t)})
	if said, _ := without.run("env | grep ^NIX_ || echo none"); strings.Contains(said, "nix.sock") {
		t.Error("a job without a store:", said)
	}
}
