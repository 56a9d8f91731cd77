package nixhost_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gitlab.com/skerry/skerry/internal/nixstore/nixhost"
)

// machine is a directory with a store, profiles in the way of NixOS, and a distribution's Nix.
func machine(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for _, f := range []string{"nix/store/0-nix/bin/nix", "nix/store/1-cacert/ca.crt", "usr/bin/nix"} {
		p := filepath.Join(root, f)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, nil, 0o755); err != nil { //nolint:gosec // a program
			t.Fatal(err)
		}
	}
	for name, to := range map[string]string{
		"nix/store/2-system/sw/bin/nix": "nix/store/0-nix/bin/nix", "run/current-system": "nix/store/2-system", "etc/ca.crt": "nix/store/1-cacert/ca.crt",
		"broken": "nowhere", "link": "nix",
	} {
		p := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(filepath.Join(root, to), p); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestFind(t *testing.T) {
	t.Parallel()
	root := machine(t)
	for name, c := range map[string]struct {
		store    string
		programs []string
		want     nixhost.Offer
	}{
		"NixOS":          {"nix/store", []string{"run/current-system/sw/bin/nix", "usr/bin/nix"}, nixhost.Offer{Tools: "/nix/store/0-nix/bin", Certs: "/nix/store/1-cacert/ca.crt"}},
		"a later one":    {"nix/store", []string{"broken", "nix", "usr/bin/nix", "nix/store/0-nix/bin/nix"}, nixhost.Offer{Tools: "/nix/store/0-nix/bin", Certs: "/nix/store/1-cacert/ca.crt"}},
		"linked store":   {"link/store", []string{"run/current-system/sw/bin/nix"}, nixhost.Offer{Tools: "/nix/store/0-nix/bin", Certs: "/nix/store/1-cacert/ca.crt"}},
		"a distribution": {"nix/store", []string{"broken", "usr/bin/nix"}, nixhost.Offer{Certs: "/nix/store/1-cacert/ca.crt", Why: "usr/bin/nix, does not lie in its store"}},
		"no store":       {"no/store", []string{"run/current-system/sw/bin/nix"}, nixhost.Offer{Why: "does not lie in its store"}},
		"nothing":        {"nix/store", []string{"broken"}, nixhost.Offer{Certs: "/nix/store/1-cacert/ca.crt", Why: "has no Nix in "}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := nixhost.Places{Store: filepath.Join(root, c.store), Certs: []string{filepath.Join(root, "etc/ca.crt")}}
			for _, program := range c.programs {
				p.Programs = append(p.Programs, filepath.Join(root, program))
			}
			got := nixhost.Find(p)
			if got.Tools != c.want.Tools || got.Certs != c.want.Certs || (got.Why == "") != (c.want.Why == "") || !strings.Contains(got.Why, c.want.Why) {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestUsual(t *testing.T) {
	t.Parallel()
	got := strings.Join(nixhost.Usual("/opt/bin:relative::/usr/bin").Programs, " ")
	if want := "/run/current-system/sw/bin/nix /nix/var/nix/profiles/default/bin/nix /opt/bin/nix /usr/bin/nix"; got != want {
		t.Error(got)
	}
}
