package container

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"gitlab.com/skerry/skerry/internal/executor"
)

// TestRecordTellsDamage: a record with any one bit changed, or without its end, is not taken for one. Only in the
// checksum's own key a change goes unnoticed: then the record is one of the time before it had any, and whole.
func TestRecordTellsDamage(t *testing.T) {
	t.Parallel()
	b := &blueprint{Ref: executor.Ref{Owner: "0123456789abcdef", ID: "fedcba9876543210"}, Slot: "skerry-slot"}
	b.Build.Name = "skerry-fedcba9876543210-build"
	whole, err := b.encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeBlueprint(whole)
	if err != nil || got.Ref != b.Ref || got.Slot != b.Slot || got.Build.Name != b.Build.Name {
		t.Fatalf("read as %+v, %v", got, err)
	}
	for i := range whole {
		for bit := range 8 {
			damaged := append([]byte(nil), whole...)
			damaged[i] ^= 1 << bit
			if got, err := decodeBlueprint(damaged); err == nil && (i >= len(sumKey) || got.Ref != b.Ref || got.Build.Name != b.Build.Name) {
				t.Errorf("byte %d, bit %d: taken for whole: %s", i, bit, damaged)
			} else if err != nil && !errors.Is(err, errDamaged) {
				t.Errorf("byte %d, bit %d: %v, want errDamaged", i, bit, err)
			}
		}
		if _, err := decodeBlueprint(whole[:i]); !errors.Is(err, errDamaged) {
			t.Errorf("the first %d bytes: %v, want errDamaged", i, err)
		}
	}
	if _, err := decodeBlueprint([]byte(`{"ref":{"Owner":"0123456789abcdef","ID":"fedcba9876543210"},"slot":"s"}`)); err != nil {
		t.Errorf("one without a checksum: %v", err)
	}
}

// TestRemains tells the directory of an environment without a record from what else is there.
func TestRemains(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		dir  string
		has  string
		want bool
	}{
		"of containers":                       {"fedcba9876543210", "made", true},
		"of a shell":                          {"fedcba9876543210", "ref", false},
		"a shell's, of which the ref is lost": {"fedcba9876543210", "place", false},
		"another":                             {".leases", "made", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), c.dir)
			if err := os.MkdirAll(filepath.Join(dir, c.has), 0o700); err != nil {
				t.Fatal(err)
			}
			if got := isRemains(dir); got != c.want {
				t.Errorf("remains: %v, want %v", got, c.want)
			}
		})
	}
}
