package nixdaemon

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/executor/container/nixspec"
)

// TestFillsTheStoreOnce has daemons whose image hides its Nix, or not, where that is known beforehand, or not, in processes of which
// the first ends after each step.
func TestFillsTheStoreOnce(t *testing.T) {
	t.Parallel()
	inStore := []string{"A=/nix/b", "PATH=/usr/bin:/nix/var/nix/profiles/default/bin"}
	for name, c := range map[string]struct {
		env    []string
		hidden bool
		want   string
	}{
		"nothing is hidden":  {[]string{"PATH=/usr/local/bin:/usr/bin"}, false, "create a, start a"},
		"it looks as hidden": {inStore, true, "start a-seed, start a"},
		"it is found hidden": {nil, true, "create a, start a, start a-seed, start a"},
		"it looks so only":   {inStore, false, "start a-seed, start a"},
	} {
		s := &script{answer: (&orders{}).answer, env: c.env, hidden: c.hidden}
		path := filepath.Join(t.TempDir(), "nix.json")
		for _, want := range []string{c.want, "", "start a"} {
			k := s.keeper(t, Options{Look: time.Hour, Tend: time.Hour, Path: path})
			k.Use(spec("a", Policy{}))
			offer, err := k.Ensure(t.Context(), spec("a", Policy{}), "id")
			if diff := cmp.Diff(Offer{Tools: tools}, offer); want != "" && diff != "" || err != nil {
				t.Errorf("%s: %v %s", name, err, diff)
			}
			k.Close()
			var did []string
			for _, d := range s.done("create a", "start") {
				if d != "create a-seed" && (d != "create a" || strings.HasPrefix(want, d)) { // which may come at any time while it is filled
					did = append(did, d)
				}
			}
			if got := strings.Join(did, ", "); got != want {
				t.Errorf("%s: it comes to %q, want %q", name, got, want)
			}
			if want == "" { // the next one starts it again
				s.mu.Lock()
				s.containers["a"].running = false
				s.mu.Unlock()
			}
		}
	}
}

// TestGoesOnWhereAProcessEnded has one end when the daemon had found nothing, before the store was filled.
func TestGoesOnWhereAProcessEnded(t *testing.T) {
	t.Parallel()
	s := &script{answer: (&orders{}).answer, hidden: true}
	k := s.keeper(t, Options{Look: time.Hour, Tend: time.Hour})
	s.mu.Lock()
	s.containers["a"] = &words{started: true, exit: 3, ended: time.Now().Add(-time.Hour)}
	s.mu.Unlock()
	k.mu.Lock()
	k.domain("a").ImageID = "id"
	k.mu.Unlock()
	if offer, err := k.Ensure(t.Context(), spec("a", Policy{}), "id"); err != nil || offer.Tools != tools {
		t.Errorf("%+v, %v", offer, err)
	}
}

// TestReplacesWhatMakesNoRoots has an earlier version's daemon, which jobs of that version still use: a job of today gets no root
// from it, so it is made anew all the same, once. One that only was made otherwise is left to them.
func TestReplacesWhatMakesNoRoots(t *testing.T) {
	t.Parallel()
	s := &script{answer: (&orders{}).answer}
	k := s.keeper(t, Options{Look: time.Hour, Tend: time.Hour})
	a := spec("a", Policy{})
	k.Use(a)
	if _, err := k.Ensure(t.Context(), a, "id"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		lost, want string
	}{
		{nixspec.LabelHolder, "remove a, create a, start a"},
		{"", ""},
		{nixspec.LabelSpec, ""},
	} {
		s.mu.Lock()
		delete(s.containers["a"].labels, c.lost)
		s.mu.Unlock()
		s.done()
		k.Use(a)
		if _, err := k.Ensure(t.Context(), a, "id"); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(s.done("create a", "start a", "remove a"), ", "); got != c.want {
			t.Errorf("without %q it comes to %q, want %q", c.lost, got, c.want)
		}
	}
}
