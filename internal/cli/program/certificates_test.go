package program_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/cli/program"
	"gitlab.com/skerry/skerry/internal/config"
	"gitlab.com/skerry/skerry/internal/gitlab"
)

func TestCertificatesNamedForTheHost(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"gitlab.example.com.crt", "gitlab.example.com.auth.crt", "gitlab.example.com.auth.key", "half.auth.crt"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	all := gitlab.TLS{CAFile: in("gitlab.example.com.crt"), CertFile: in("gitlab.example.com.auth.crt"), KeyFile: in("gitlab.example.com.auth.key")}
	for name, c := range map[string]struct {
		dir    string
		runner config.Runner
		want   gitlab.TLS
	}{
		"found":           {dir, config.Runner{URL: "https://gitlab.example.com:8443/path"}, all},
		"other host":      {dir, config.Runner{URL: "https://other.example.com"}, gitlab.TLS{}},
		"half a pair":     {dir, config.Runner{URL: "https://half"}, gitlab.TLS{}},
		"a path as host":  {dir, config.Runner{URL: "https://../x"}, gitlab.TLS{}},
		"no address":      {dir, config.Runner{}, gitlab.TLS{}},
		"no directory":    {"", config.Runner{URL: "https://gitlab.example.com"}, gitlab.TLS{}},
		"the entry's own": {dir, config.Runner{URL: "https://gitlab.example.com", TLSCAFile: "a", TLSCertFile: "b", TLSKeyFile: "c"}, gitlab.TLS{CAFile: "a", CertFile: "b", KeyFile: "c"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(c.want, program.Certificates(c.dir).TLS(&c.runner)); diff != "" {
				t.Error(diff)
			}
		})
	}
}
