package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/config"
)

func TestCachesOfProtectedRefs(t *testing.T) {
	t.Parallel()
	common, protected, none := []string{"https://common.example.org"}, []string{"https://protected.example.org"}, []string{}
	for name, c := range map[string]struct {
		nix       config.Nix
		protected bool
		want      [2][]string
	}{
		"nothing said": {config.Nix{Trust: config.NixTrustJob}, true, [2][]string{}},
		"others":       {config.Nix{Trust: config.NixTrustJob, Substituters: common, Protected: &config.NixProtected{Substituters: protected}}, false, [2][]string{common, nil}},
		"replaced":     {config.Nix{Trust: config.NixTrustProject, Substituters: common, Protected: &config.NixProtected{Substituters: protected}}, true, [2][]string{protected, nil}},
		"emptied":      {config.Nix{Trust: config.NixTrustProtected, TrustedPublicKeys: common, Protected: &config.NixProtected{TrustedPublicKeys: none}}, true, [2][]string{nil, none}},
		"kept":         {config.Nix{Trust: config.NixTrustProtected, Substituters: common, Protected: &config.NixProtected{TrustedPublicKeys: none}}, true, [2][]string{common, none}},
		"not apart":    {config.Nix{Trust: config.NixTrustRunner, Substituters: common, Protected: &config.NixProtected{Substituters: protected}}, true, [2][]string{common, nil}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			substituters, keys := c.nix.Caches(c.protected)
			if diff := cmp.Diff(c.want, [2][]string{substituters, keys}); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestNixIsOffWithoutASection(t *testing.T) {
	t.Parallel()
	var none *config.Nix
	if none.Enabled() || (&config.Nix{}).Enabled() || (&config.Nix{Store: config.NixOff}).Enabled() || !(&config.Nix{Store: config.NixHost}).Enabled() {
		t.Error("a store is there when nobody asked, or not when somebody did")
	}
}

func TestPushKeyMustBePrivate(t *testing.T) {
	t.Parallel()
	for mode, want := range map[os.FileMode]string{0o600: "", 0o640: "", 0o644: "chmod 600", 0o606: "chmod 600"} {
		dir := t.TempDir()
		path := filepath.Join(dir, "config.toml")
		text := "[[runners]]\nurl = \"https://x/\"\ntoken = \"glrt-1\"\nexecutor = \"shell\"\n[runners.nix]\nstore = \"host\"\npush = \"file:///srv/cache\"\npush_key_file = \"key\"\n"
		for name, content := range map[string]string{path: text, filepath.Join(dir, "key"): "name:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8DoQe/884Qvh1w3RjnS8CZZ+TWMJulDV8d3IZkElUxuA=="} {
			if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chmod(filepath.Join(dir, "key"), mode); err != nil {
			t.Fatal(err)
		}
		c, err := config.Load(path, options())
		if err != nil {
			t.Fatal(err)
		}
		refused := c.Runners[0].Refused
		if want == "" != (refused == nil) || want != "" && (!strings.Contains(refused.Error(), want) || !strings.Contains(refused.Error(), "config.toml:8: runners[0].nix.push_key_file")) {
			t.Errorf("mode %04o: %v", mode, refused)
		}
	}
}

func TestParseFree(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]config.Budget{"20GB": {Bytes: 20 << 30}, "10%": {Percent: 10}, "0": {}, "100%": {}, "some": {}} {
		got, err := config.ParseFree(text)
		if (err != nil) != (want == config.Budget{}) || got != want || err != nil && !strings.Contains(err.Error(), `"10%"`) {
			t.Errorf("ParseFree(%q) = %v, %v", text, got, err)
		}
	}
}
