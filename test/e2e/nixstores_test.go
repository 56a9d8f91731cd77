package e2e

import (
	"encoding/json"
	"strings"
	"testing"

	"gitlab.com/skerry/skerry/internal/control"
	"gitlab.com/skerry/skerry/internal/executor/container/enginetest"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
)

// stores are the runner's Nix stores, as its command shows them.
func (r *runner) stores() (all []control.NixStore) {
	r.t.Helper()
	out, code := r.said("nix", "stat", "--json")
	if code != 0 {
		r.t.Fatal("nix stat fails")
	}
	if err := json.Unmarshal([]byte(out), &all); err != nil {
		r.t.Fatal(err)
	}
	return all
}

// TestNixStoresAreLookedAfter has commands collect and pin beside a job, with a daemon that sleeps, and after a restart.
func TestNixStoresAreLookedAfter(t *testing.T) {
	t.Parallel()
	enginetest.NixBases(t)
	onEngines(t, func(t *testing.T, m machine) {
		r := m.nixRunner(t, m.coordinator(t, gitlabtest.Options{}), `idle_timeout = "1s"`, `min_free = "1MB"`)
		r.start()
		said := func(code int, args ...string) string {
			t.Helper()
			out, got := r.said(append([]string{"nix"}, args...)...)
			if got != code {
				t.Errorf("nix %s ends with %d", strings.Join(args, " "), got)
			}
			return out
		}
		j, log := r.wait(r.add(gitlabtest.JobSpec{Script: []string{box, derivation("one", "echo one > $out"), derivation("two", "echo two > $out"), "nix-build --no-out-link one.nix two.nix"}}))
		want(t, j, log, gitlabtest.StatusSuccess, "")
		path := map[string]string{}
		for _, word := range strings.Fields(log) {
			if name, ok := strings.CutPrefix(word, "/nix/store/"); ok {
				path[name[strings.LastIndex(name, "-")+1:]] = word
			}
		}
		if path["one"] == "" || path["two"] == "" {
			t.Fatalf("the job built %v\n%s", path, log)
		}
		until(t, "the daemon sleeps", func() bool {
			s := r.stores()
			return len(s) == 1 && s[0].Daemon == "stopped" && s[0].Jobs == 0 && len(s[0].Runners) == 1
		})
		said(0, "pin", "kept", path["one"])
		if got := said(0, "ls", "--held"); !strings.Contains(got, "pin:kept") || !strings.Contains(got, path["one"]) || strings.Contains(got, path["two"]) {
			t.Error("the list of what is held")
		}
		g := m.gate(t)
		id := r.add(gitlabtest.JobSpec{Script: []string{
			box, derivation("three", "echo three > $out"), "path=$(nix-build --no-out-link three.nix)", g.lines()[0], "cat $path && nix-store --check-validity $path",
		}})
		g.await(t)
		r.restart()
		until(t, "the runner answers", func() bool {
			_, code := r.said("nix", "stat")
			return code == 0
		})
		if got := said(0, "gc"); !strings.Contains(got, "deleted 0 paths") {
			t.Error("something was deleted that had been used lately")
		}
		if got := said(0, "gc", "--all", "--dry-run"); !strings.Contains(got, path["two"]) || strings.Contains(got, path["one"]) || strings.Contains(got, "-three\n") {
			t.Error("what would be deleted")
		}
		said(0, "gc", "--all")
		if got := said(0, "ls"); !strings.Contains(got, path["one"]) || strings.Contains(got, path["two"]) {
			t.Error("what was deleted")
		}
		g.open(t)
		j, log = r.wait(id)
		want(t, j, log, gitlabtest.StatusSuccess, "")
		contains(t, log, "01O three")
		said(1, "pin", "kept", path["two"])
		if got := said(0, "unpin", "kept"); !strings.Contains(got, path["one"]) {
			t.Error("what was pinned")
		}
		until(t, "the pinned path goes", func() bool { return strings.Contains(said(0, "gc", "--all", "--json"), path["one"]) })
	})
}
