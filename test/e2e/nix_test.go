package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"gitlab.com/skerry/skerry/internal/executor/container/enginetest"
	"gitlab.com/skerry/skerry/internal/executor/container/nixdaemon"
	"gitlab.com/skerry/skerry/internal/executor/container/nixspec"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
	"gitlab.com/skerry/skerry/internal/gitlab/jobpayload"
	"gitlab.com/skerry/skerry/internal/nixstore/nixd"
)

// nixRunner installs a runner whose jobs have a Nix store; lines are added to [runners.nix].
func (m machine) nixRunner(t *testing.T, co *gitlabtest.Coordinator, lines ...string) *runner {
	t.Helper()
	has := strings.Join(lines, "\n")
	for key, value := range map[string]string{"substituters": "[]", "trusted_public_keys": "[]", "sandbox": `"required"`, "path": "true", "min_free": `"1MB"`} {
		if !strings.Contains(has, key+" =") {
			lines = append(lines, key+" = "+value)
		}
	}
	return m.runnerWith(t, co, nil, append([]string{"[runners.nix]", `store = "shared"`, fmt.Sprintf("image = %q", m.engine.NixImage(t, enginetest.NixNew))}, lines...)...)
}

// box gives a script $box, a directory of the store with a busybox.
const box = `mkdir -p /tmp/box; cp /bin/busybox /tmp/box; export box=$(nix-store --add /tmp/box)`

// derivation is a script line that writes NAME.nix, whose builder is $box with a shell's line.
func derivation(name, line string, more ...string) string {
	return fmt.Sprintf("cat > %[1]s.nix <<'END'\nderivation {\n  name = \"%[1]s\"; system = builtins.currentSystem; builder = builtins.storePath (builtins.getEnv \"box\") + \"/busybox\";\n"+
		"  args = [ \"sh\" \"-c\" ''%[2]s'' ]; %[3]s\n}\nEND", name, line, strings.Join(more, " "))
}

// held is a derivation whose build waits at a gate: it has the network, as what it makes is known beforehand.
func held(name string, g gate) string {
	sum := sha256.Sum256([]byte(name + "\n"))
	return derivation(name, "$builder "+g.door.line()+"; echo "+name+" > $out",
		`outputHashMode = "flat"; outputHashAlgo = "sha256"; outputHash = "`+hex.EncodeToString(sum[:])+`";`)
}

// TestNixPipeline runs jobs of several images in a row on one store: the later ones find what the first has built.
func TestNixPipeline(t *testing.T) {
	t.Parallel()
	enginetest.NixBases(t)
	onEngines(t, func(t *testing.T, m machine) {
		r := m.nixRunner(t, m.coordinator(t, gitlabtest.Options{}))
		r.start()
		m.engine.Load(t, enginetest.Image{Name: "skerry.test/e2e-nix-user:latest", User: "1000"})
		one := []string{box, derivation("one", "echo the first > $out"), "path=$(nix-build --no-out-link one.nix)", "cat $path"}
		system := `system=$(uname -m)-linux`
		for _, c := range []struct {
			name, image string
			script      []string
			says        []string
			not         string
		}{
			{name: "build", script: one, says: []string{"01O the first", "Nix: 1 built"}, not: " reused"},
			{name: "reuse", script: one, says: []string{"01O the first", "Nix: ", " reused"}, not: " built"},
			{
				name: "another user", image: "skerry.test/e2e-nix-user:latest",
				script: append([]string{"id -u", derivation("user", "echo by a user > $out")}, box, "cat $(nix-build --no-out-link user.nix)"),
				says:   []string{"01O 1000", "01O by a user", "Nix: 1 built"},
			},
			{
				name: "an image with Nix", image: m.engine.NixImage(t, enginetest.NixNew),
				script: []string{
					system, "mkdir -p b/bin; cp /usr/bin/bash-static b/bin/bash",
					"cat > script <<'END'\n#!/usr/bin/env nix-shell\n#!nix-shell -i bash shell.nix\necho in $HELLO\nEND", "chmod +x script",
					`echo "derivation { name = \"shell\"; system = \"$system\"; builder = \"/bin/sh\"; HELLO = \"the shell\"; }" > shell.nix`, "./script",
				},
				says: []string{"01O in the shell"},
			},
			{
				name: "a flake", image: m.engine.NixImage(t, enginetest.NixNew),
				script: []string{
					system, "export NIX_CONFIG='flake-registry ='", "mkdir -p flake/b/bin; cp /usr/bin/bash-static flake/b/bin/bash; cd flake",
					"cat > flake.nix <<END\n{ outputs = { self }: { packages.$system.default = derivation {\n  name = \"flake\"; outputs = [ \"out\" ]; system = \"$system\"; builder = \"\\${./b}/bin/bash\"; " +
						"args = [ \"-c\" \"echo built of a flake > \\$out\" ]; HELLO = \"of the flake\";\n}; }; }\nEND",
					"nix build --offline path:$PWD", "cat result", "nix develop --offline path:$PWD -c bash -c 'echo shell $HELLO'",
				},
				says: []string{"01O built of a flake", "01O shell of the flake"},
			},
		} {
			spec := gitlabtest.JobSpec{Name: c.name, Script: c.script}
			if c.image != "" {
				spec.Image = &jobpayload.Image{Name: c.image}
			}
			j, log := r.wait(r.add(spec))
			if want(t, j, log, gitlabtest.StatusSuccess, ""); t.Failed() {
				t.Fatal(c.name)
			}
			contains(t, log, c.says...)
			if _, end, _ := strings.Cut(log, "Nix: "); c.not != "" && strings.Contains(strings.SplitN(end, "\n", 2)[0], c.not) {
				t.Errorf("%s: not wanted: %q\n%s", c.name, c.not, log)
			}
		}
		path, err := program()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), path, "image", "build", "job", "--from", m.engine.NixImage(t, enginetest.NixStore), "--tag", "skerry.test/e2e-job:latest", "--host", m.engine.Address.Host)
		m.as(t, cmd, r.env)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		j, log := r.wait(r.add(gitlabtest.JobSpec{Image: &jobpayload.Image{Name: "skerry.test/e2e-job:latest"}, Script: one}))
		want(t, j, log, gitlabtest.StatusSuccess, "")
		contains(t, log, "01O the first", " reused")
	})
}

// nixDaemons are the daemons of a runner's stores.
func (m machine) nixDaemons(t *testing.T, r *runner) (all []nixdaemon.Spec) {
	t.Helper()
	list, err := m.client(t).ContainerList(t.Context(), client.ContainerListOptions{
		Filters: make(client.Filters).Add("label", labelOwner+"="+r.owner(t)).Add("label", nixspec.LabelSpec),
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range list.Items {
		all = append(all, nixdaemon.Spec{Owner: r.owner(t), Domain: c.Labels[nixspec.LabelDomain]})
	}
	return all
}

// TestNixBuildOutlivesTheRunner kills the runner in the middle of a build: the job goes on with it, and it is built once.
func TestNixBuildOutlivesTheRunner(t *testing.T) {
	t.Parallel()
	enginetest.NixBases(t)
	onEngines(t, func(t *testing.T, m machine) {
		r := m.nixRunner(t, m.coordinator(t, gitlabtest.Options{}))
		r.start()
		g := m.gate(t)
		id := r.add(gitlabtest.JobSpec{Script: []string{box, held("held", g), "cat $(nix-build --no-out-link held.nix)", "exit 7"}})
		g.await(t)
		r.restart()
		g.open(t)
		j, log := r.wait(id)
		want(t, j, log, gitlabtest.StatusFailed, "script_failure")
		contains(t, log, "01O held", "exit code 7", "Nix: 1 built")
		if n := g.door.visitors(); n != 1 {
			t.Errorf("it was built %d times", n)
		}
	})
}

// TestNixDaemonKilledInABuild kills the daemon's container in the middle of a build: the job says so, and ends as if
// nothing had been; later jobs find the store.
func TestNixDaemonKilledInABuild(t *testing.T) {
	t.Parallel()
	enginetest.NixBases(t)
	onEngines(t, func(t *testing.T, m machine) {
		r := m.nixRunner(t, m.coordinator(t, gitlabtest.Options{}))
		r.start()
		g := m.gate(t)
		script := []string{box, held("held", g), "cat $(nix-build --no-out-link held.nix)"}
		id := r.add(gitlabtest.JobSpec{Script: script})
		g.await(t)
		daemons := m.nixDaemons(t, r)
		if len(daemons) != 1 {
			t.Fatal(daemons)
		}
		if _, err := m.client(t).ContainerKill(t.Context(), daemons[0].Name(), client.ContainerKillOptions{Signal: "KILL"}); err != nil {
			t.Fatal(err)
		}
		until(t, "it is built again", func() bool { return g.door.visitors() == 2 })
		g.open(t)
		j, log := r.wait(id)
		want(t, j, log, gitlabtest.StatusSuccess, "")
		contains(t, log, "01O held", "the Nix daemon was restarted")
		j, log = r.wait(r.add(gitlabtest.JobSpec{Script: script}))
		want(t, j, log, gitlabtest.StatusSuccess, "")
		contains(t, log, " reused")
	})
}

// TestNixTogether has many jobs build at once while garbage is collected over and over: what they share is built once,
// and nobody loses a path.
func TestNixTogether(t *testing.T) { //nolint:paralleltest // an engine with so many jobs answers nobody else in time
	enginetest.NixBases(t)
	const many = 20
	onEngines(t, func(t *testing.T, m machine) {
		r := m.nixRunner(t, m.coordinator(t, gitlabtest.Options{}))
		r.editConfig("concurrent = 10", fmt.Sprintf("concurrent = %d", many))
		r.m.own(t, r.config())
		r.patience = 3 * patience
		start, shared := m.gate(t), m.gate(t)
		var ids []int64
		for i := range many {
			script := []string{box, held("shared", shared)}
			for n := range 3 {
				script = append(script, derivation(fmt.Sprintf("own-%d-%d", i, n), fmt.Sprintf("echo %d %d > $out", i, n)))
			}
			script = append(script, start.lines()...)
			script = append(script, "paths=$(nix-build --no-out-link shared.nix)")
			for n := range 3 {
				script = append(script, fmt.Sprintf("paths=\"$paths $(nix-build --no-out-link own-%d-%d.nix)\"; cat $paths > /dev/null; nix-store --check-validity $paths", i, n))
			}
			ids = append(ids, r.add(gitlabtest.JobSpec{Script: script}))
		}
		r.start()
		untilWithin(t, r.patience, "all jobs run at once", func() bool { return start.door.visitors() == many })
		start.open(t)
		shared.await(t)
		shared.open(t)
		engine, daemons := m.engine.Connect(t), m.nixDaemons(t, r)
		if len(daemons) != 1 {
			t.Fatal(daemons)
		}
		collections, late := 0, time.Now().Add(r.patience) // the wait for the jobs tells more
		for over := false; !over && time.Now().Before(late); collections++ {
			if _, err := nixdaemon.Run(t.Context(), engine, daemons[0], nixd.CommandCollect, "{}"); err != nil {
				t.Fatal(err)
			}
			over = true
			for _, id := range ids {
				if j, _ := r.co.Job(id); j.Reported == "" {
					over = false
				}
			}
		}
		t.Log(collections, "collections")
		for _, id := range ids {
			j, log := r.wait(id)
			want(t, j, log, gitlabtest.StatusSuccess, "")
		}
		if n := shared.door.visitors(); n != 1 {
			t.Errorf("what all jobs want was built %d times", n)
		}
		if said, err := nixdaemon.Run(t.Context(), engine, daemons[0], nixd.CommandVerify); err != nil || !strings.Contains(string(said), `"ok":true`) {
			t.Errorf("the store: %s, %v", said, err)
		}
	}, "podman")
}
