package daemon

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
)

func TestUsedEngines(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	path := filepath.Join(t.TempDir(), "state", "engines.json")
	process := func() *usedEngines {
		return &usedEngines{path: path, now: func() time.Time { return now }, log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	}
	a, b := engineapi.Address{Host: "unix:///a.sock"}, engineapi.Address{Host: "tcp://b:2376", CertPath: "/certs", Verify: true}
	check := func(what string, u *usedEngines, known map[engineapi.Address]bool, want ...engineapi.Address) {
		t.Helper()
		if diff := cmp.Diff(want, u.besides(known)); diff != "" {
			t.Errorf("%s: -want +got:\n%s", what, diff)
		}
	}
	u := process()
	check("in the beginning", u, nil)
	u.note(a)
	u.note(b)
	u.note(a)
	check("while all are configured", u, map[engineapi.Address]bool{a: true, b: true})
	check("the next process", process(), map[engineapi.Address]bool{a: true}, b)
	now = now.Add(50 * 24 * time.Hour)
	u = process()
	u.note(a)
	check("fifty days later", process(), nil, a, b)
	now = now.Add(60 * 24 * time.Hour)
	check("long after one was configured", process(), nil, a)
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	u = process()
	check("a broken record", u, nil)
	u.note(b)
	check("begun anew", process(), nil, b)
}
