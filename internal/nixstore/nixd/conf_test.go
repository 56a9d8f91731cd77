package nixd

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const aKey = "cache.test-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY="

func TestNixConf(t *testing.T) {
	t.Parallel()
	c := Config{
		Image: "sha256:1", Substituters: []string{"file:///cache"}, PublicKeys: []string{aKey}, MaxJobs: 2,
		Lines: []string{"connect-timeout=5", "trusted-substituters = https://a https://b"},
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	want := `# Written by skerry at every start.
max-build-log-size = 268435456
connect-timeout = 5
trusted-substituters = https://a https://b
trusted-users =
allowed-users = *
build-users-group = nixbld
sandbox = true
sandbox-fallback = false
require-sigs = true
builders =
auto-optimise-store = false
keep-derivations = false
keep-outputs = false
min-free = 0
extra-experimental-features = nix-command flakes
substituters = file:///cache
trusted-public-keys = ` + aKey + `
max-jobs = 2
cores = 0
`
	if d := cmp.Diff(want, string(c.nixConf(true, buildGroup))); d != "" {
		t.Error(d)
	}
	c = Config{Substituters: []string{}}
	if got := string(c.nixConf(false, "")); !strings.Contains(got, "\nsandbox = false\n") || !strings.Contains(got, "\nbuild-users-group =\n") ||
		!strings.Contains(got, "\nsubstituters =\n") || strings.Contains(got, "public-keys") || !strings.Contains(got, "\nmax-jobs = auto\n") {
		t.Error(got)
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"fallback = true":                       "",
		"extra-platforms = aarch64-linux":       "",
		"trusted-users = root":                  "nobody is trusted",
		"extra-trusted-users = root":            "nobody is trusted",
		"allowed-users = a":                     "gateway",
		"sandbox = false":                       "use the setting sandbox",
		"extra-sandbox-paths = /":               "use the setting sandbox",
		"allowed-impure-host-deps = /":          "opens the sandbox",
		"sandbox-fallback = true":               "use the setting sandbox",
		"build-use-sandbox = false":             "use the setting sandbox",
		"require-sigs = false":                  "any name",
		"post-build-hook = /x":                  "outside",
		"substituters = http://x":               "setting for it",
		"include /etc/other":                    "NAME = VALUE",
		"!include /etc/other":                   "NAME = VALUE",
		"fallback = true\ntrusted-users = root": "NAME = VALUE",
		"fallback = true\rtrusted-users = root": "NAME = VALUE",
		"":                                      "NAME = VALUE",
		"Trusted-Users = root":                  "NAME = VALUE",
	} {
		err := Config{Image: "i", Lines: []string{line}}.Validate()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v; want %q", line, err, want)
		}
	}
	for _, c := range []Config{
		{}, {Image: "a/b"}, {Image: "../x"}, {Image: "i", Sandbox: "yes"}, {Image: "i", MaxJobs: -1}, {Image: "i", Substituters: []string{"a b"}},
		{Image: "i", Substituters: []string{"http://a#b"}}, {Image: "i", PublicKeys: []string{"nokey"}}, {Image: "i", PublicKeys: []string{"a:QUJD"}},
	} {
		if err := c.Validate(); err == nil {
			t.Errorf("%+v is valid", c)
		}
	}
}

// The directory is a link into the store in images that Nix made.
func TestWriteConfReplacesLinks(t *testing.T) {
	t.Parallel()
	l := machine(t, map[string]string{"etc/passwd": "", "store/nix/nix.conf": "old"})
	if err := os.Symlink("../store/nix", l.Etc()+"/nix"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := (Config{}).writeConf(l, true, ""); err != nil {
			t.Fatal(err)
		}
	}
	if read(t, l.Root+"/store/nix/nix.conf") != "old" || !strings.Contains(read(t, l.Etc()+"/nix/nix.conf"), "sandbox = true") {
		t.Error("the wrong file was written")
	}
}

// Whatever the settings are: what decides about trust is ours, once, and the last of its name.
func FuzzConf(f *testing.F) {
	f.Add(`{"image":"i","lines":["a = b"]}`)
	f.Add(`{"image":"i","lines":["extra-trusted-users=root","x = \u2028"],"substituters":["a"],"publicKeys":["` + aKey + `"]}`)
	f.Fuzz(func(t *testing.T, raw string) {
		c, err := parseConfig(raw)
		if err != nil {
			return
		}
		last := map[string]string{}
		for line := range strings.Lines(string(c.nixConf(true, buildGroup))) {
			line, _, _ = strings.Cut(line, "#")
			f := strings.Fields(line)
			if len(f) == 0 {
				continue
			}
			if len(f) < 2 || f[1] != "=" {
				t.Fatalf("%q is no setting", line)
			}
			last[f[0]] = strings.Join(f[2:], " ")
		}
		want := map[string]string{"trusted-users": "", "sandbox": "true", "sandbox-fallback": "false", "require-sigs": "true", "build-users-group": buildGroup, "allowed-users": "*"}
		for name, value := range want {
			if last[name] != value {
				t.Fatalf("%s = %q", name, last[name])
			}
		}
		for _, name := range []string{"extra-trusted-users", "include", "extra-sandbox-paths", "sandbox-paths", "post-build-hook"} {
			if _, has := last[name]; has {
				t.Fatalf("%s is set", name)
			}
		}
		if _, err := json.Marshal(c); err != nil {
			t.Fatal(err)
		}
	})
}
