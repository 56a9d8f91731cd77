package embedded_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/agent/embedded"
)

func TestPrune(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := embedded.Prune(dir, nil); err != nil {
		t.Errorf("without any: %v", err)
	}
	for _, name := range []string{"000102030405", "aabbccddeeff", "ffffffffffff", "operators-own", "0011"} {
		home := filepath.Join(dir, "agents", name)
		if err := os.MkdirAll(home, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(home, "agent"), []byte(name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	used := []string{filepath.Join(dir, "agents", "aabbccddeeff"), "/elsewhere/000102030405"}
	if err := embedded.Prune(dir, used); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(dir, "agents", "*", "agent"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, l := range left {
		names = append(names, filepath.Base(filepath.Dir(l)))
	}
	slices.Sort(names)
	if diff := cmp.Diff([]string{"0011", "aabbccddeeff", "operators-own"}, names); diff != "" {
		t.Errorf("-want +left:\n%s", diff)
	}
}
