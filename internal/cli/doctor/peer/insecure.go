package peer

import (
	"context"
	"fmt"
	"path/filepath"

	"gitlab.com/skerry/skerry/internal/cli/doctor/finding"
	"gitlab.com/skerry/skerry/internal/cli/doctor/host"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
)

// Trust is what this engine is told of registries. a is whose engine it is, if it is rootless.
func (e *Engine) Trust(a host.Account, rootless bool) Trust {
	f := e.Facts()
	home := ""
	if rootless {
		home = a.Home
	}
	files := host.Registries{Machine: e.Machine, Home: home}
	return Trust{
		CertDirs: CertDirs(home),
		Insecure: func(ctx context.Context, registry string) bool {
			if f.Kind == engineapi.Podman {
				return f.Local && files.Insecure(registry)
			}
			c := e.Connection()
			if c == nil {
				return false
			}
			insecure, err := c.Insecure(ctx, registry)
			return err == nil && insecure
		},
		Allow: func(registry string) ([]finding.Command, string) {
			if f.Kind != engineapi.Podman || !f.Local {
				return nil, fmt.Sprintf("have it speak TLS, or have the engine do without: `\"insecure-registries\": [%q]` in /etc/docker/daemon.json (Docker), `[[registry]]` with `insecure = true` in registries.conf (Podman)", registry)
			}
			as := e.Machine.AsRoot
			if rootless {
				as = func(argv ...string) finding.Command { return e.Machine.As(a, argv...) }
			}
			file := files.DropIn(registry)
			return []finding.Command{
				as("mkdir", "-p", filepath.Dir(file)),
				as("sh", "-c", fmt.Sprintf(`printf '[[registry]]\nlocation = "%%s"\ninsecure = true\n' %s >%s`, registry, finding.Command{file})),
			}, "better: have it speak TLS; restart the engine's service, if it has one"
		},
	}
}
