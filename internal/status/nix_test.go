package status

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestNixMetrics(t *testing.T) {
	t.Parallel()
	b, _ := newBoard()
	b.JobStarted(Job{Ref: "1", ID: 1, Runner: runnerA()})
	b.NixUsed("1", NixUse{Built: NixPaths{Paths: 2}, Substituted: NixPaths{Paths: 3, Bytes: 300}, Added: NixPaths{Paths: -1, Bytes: -1}, Refused: 4})
	b.NixUsed("1", NixUse{Built: NixPaths{Paths: 1}})
	b.NixUsed("none", NixUse{Built: NixPaths{Paths: 1}})
	b.NixSandbox("a", true)
	b.NixSandbox("b", false)
	b.NixSandbox("c", true)
	b.NixGone("c")
	_, body := get(t, b.Handler(), http.MethodGet, "/metrics")
	var got []string
	for line := range strings.Lines(body) {
		if strings.HasPrefix(line, "skerry_nix_") {
			got = append(got, strings.Replace(line, `runner="tokenaaaa",runner_name="first",system_id="s_0123456789ab"`, "R", 1))
		}
	}
	want := []string{
		`skerry_nix_bytes_total{kind="added",R} 0`, `skerry_nix_bytes_total{kind="built",R} 0`, `skerry_nix_bytes_total{kind="reused",R} 0`,
		`skerry_nix_bytes_total{kind="substituted",R} 300`, `skerry_nix_paths_total{kind="added",R} 0`, `skerry_nix_paths_total{kind="built",R} 3`,
		`skerry_nix_paths_total{kind="reused",R} 0`, `skerry_nix_paths_total{kind="substituted",R} 3`, `skerry_nix_refused_total{R} 4`,
		`skerry_nix_sandbox{store="a"} 1`, `skerry_nix_sandbox{store="b"} 0`,
	}
	if diff := cmp.Diff(strings.Join(want, "\n")+"\n", strings.Join(got, "")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
