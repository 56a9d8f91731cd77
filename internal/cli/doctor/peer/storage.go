package peer

import (
	"context"
	"fmt"
	"strings"

	"gitlab.com/skerry/skerry/internal/cli/doctor/finding"
	"gitlab.com/skerry/skerry/internal/cli/doctor/host"
)

// Storage checks that the engine's storage shares layers. a is whose engine it is.
func Storage(e *Engine, a host.Account) finding.Check {
	return finding.Check{Name: "storage", About: shown(e.Facts().Found.Host), Look: func(ctx context.Context) finding.Result {
		f, m := e.Facts(), e.Machine
		if f.Driver == "vfs" { // it may have been mended meanwhile
			f, _ = e.look(ctx)
		}
		switch f.Driver {
		case "":
			return finding.Skip("the engine has not told its storage driver")
		case "vfs":
		default:
			return finding.OK("%s in %s", f.Driver, f.Dir)
		}
		bad := finding.Result{
			Severity: finding.Warning, What: fmt.Sprintf("%s keeps images with the driver vfs", f.Kind),
			Why: "every layer and every container is a whole copy: jobs start slowly, and the disk fills",
		}
		if !f.Local || f.Kind != "podman" {
			bad.Advice = `set "storage-driver": "overlay2" in /etc/docker/daemon.json and restart the engine`
			return bad
		}
		file, as := "/etc/containers/storage.conf", m.AsRoot
		if f.Rootless {
			file = a.Home + "/.config/containers/storage.conf"
			as = func(argv ...string) finding.Command { return m.As(a, argv...) }
		}
		q := finding.Command{file}.String()
		bad.Loses = "all images, containers and volumes of this engine"
		bad.Advice = "restart the engine afterwards, if it is a service"
		bad.Mend = []finding.Command{
			as("podman", "system", "reset", "--force"), // its database would keep the old driver
			as("mkdir", "-p", file[:strings.LastIndexByte(file, '/')]),
			as("sh", "-c", fmt.Sprintf(`touch %[1]s; sed -i '/^[[:space:]]*driver[[:space:]]*=/d' %[1]s; if grep -q '^[[:space:]]*\[storage\]' %[1]s; `+
				`then sed -i 's/^[[:space:]]*\[storage\].*/[storage]\ndriver = "overlay"/' %[1]s; else printf '\n[storage]\ndriver = "overlay"\n' >>%[1]s; fi`, q)),
		}
		return bad
	}}
}
