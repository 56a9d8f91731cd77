package generations_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/executor/container/generations"
)

const (
	dom    = "skerry-0123456789abcdef-images-project-open-01"
	volume = dom + "-00000000000000aa"
)

// TestRecords has one engine, by two names, offer a generation until it is forgotten, and nothing by records that are damaged.
func TestRecords(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "records")
	one, other := generations.Records{Dir: dir, Engine: "01"}, generations.Records{Dir: dir, Engine: "02"}
	offered := func(want bool) {
		t.Helper()
		if got, err := one.Offered(volume); err != nil || got != want {
			t.Errorf("it is offered: %v, want %v (%v)", got, want, err)
		}
	}
	if err := one.Forget(volume); err != nil {
		t.Errorf("without a directory: %v", err)
	}
	offered(false)
	want := generations.Record{Volume: volume, Made: time.Now().Round(0)}
	if err := errors.Join(one.Write(dom, want), other.Write(dom, want), one.Write(dom+"x", generations.Record{Volume: dom + "x-1"})); err != nil {
		t.Fatal(err)
	}
	offered(true)
	for _, r := range []generations.Records{one, other} {
		if got, err := r.Read(dom); err != nil || !cmp.Equal(want, got) {
			t.Errorf("%s: %+v, want %+v (%v)", r.Engine, got, want, err)
		}
	}
	if err := one.Forget(volume); err != nil {
		t.Fatal(err)
	}
	offered(false)
	if g, err := one.Read(dom + "x"); err != nil || g.Volume == "" {
		t.Errorf("another domain's is forgotten as well (%v)", err)
	}
	for _, raw := range []string{`{"volume":"somebody-elses"}`, `{"volume":"` + dom + `x-1"}`, `{"volume":`, ``} {
		if err := os.WriteFile(filepath.Join(dir, "01-"+dom+".json"), []byte(raw), 0o600); err != nil {
			t.Fatal(err)
		}
		if g, err := one.Read(dom); err != nil || g.Volume != "" {
			t.Errorf("a damaged record %s offers %q (%v)", raw, g.Volume, err)
		}
	}
}

func TestSplit(t *testing.T) {
	t.Parallel()
	for name, want := range map[string][2]string{volume: {dom, "00000000000000aa"}, "other": {"", "other"}, "": {}, "-": {}} {
		domain, id := generations.Split(name)
		if got := [2]string{domain, id}; got != want {
			t.Errorf("%q is %q", name, got)
		}
	}
}
