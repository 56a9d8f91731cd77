package peer

import (
	"context"
	"errors"
	"fmt"
	"os"

	"gitlab.com/skerry/skerry/internal/cli/doctor/finding"
	"gitlab.com/skerry/skerry/internal/cli/doctor/host"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
	"gitlab.com/skerry/skerry/internal/nixstore/nixconn"
)

// NixHost checks the machine's own Nix daemon (store = "host"): it is there, serves who jobs connect as, and does not trust them.
func NixHost(m host.Machine, socket string) finding.Check {
	return finding.Check{Name: "nix", About: socket, Look: func(ctx context.Context) finding.Result {
		ctx, cancel := context.WithTimeout(ctx, within)
		defer cancel()
		conn, v, err := nixconn.Dialer{Socket: socket, Unprivileged: true}.Open(ctx)
		if err == nil {
			_ = conn.Close()
			if v.Minor() < sayTrust {
				return finding.OK("a Nix daemon; one before Nix 2.15 does not say whom it trusts")
			}
			return finding.OK("a Nix daemon that does not trust jobs (protocol %d.%d)", v.Number>>8, v.Minor())
		}
		bad := finding.Result{Severity: finding.Failure, What: oneLine(err), Why: "jobs of these runners cannot use Nix"}
		var trusted *nixconn.TrustedError
		var away *nixconn.AwayError
		switch {
		case errors.As(err, &trusted):
			bad.What = fmt.Sprintf("the Nix daemon trusts %s, as which jobs are connected", trusted.Whom)
			bad.Why = "whom it trusts is root over the store of all jobs, so jobs are refused"
			if bad.Mend, bad.Advice = distrust(m); bad.Mend != nil {
				bad.Loses = "the trust that nix.conf has in any other user, of people too"
			}
		case errors.As(err, &away) && errors.Is(err, os.ErrPermission):
			bad.What = "the Nix daemon's socket " + socket + " is closed to jobs"
			bad.Mend = []finding.Command{m.AsRoot("chmod", "0666", socket)}
		case errors.As(err, &away):
			bad.What = fmt.Sprintf("there is no Nix daemon at %s that answers", socket)
			switch {
			case m.Find("nix-daemon") == "":
				bad.Advice = "install Nix, with its daemon, or use store = \"shared\" in [runners.nix]"
			case m.Systemd():
				bad.Mend = []finding.Command{m.AsRoot("systemctl", "enable", "--now", "nix-daemon.socket")}
			default:
				bad.Mend = []finding.Command{m.AsRoot("setsid", "--fork", "nix-daemon"), m.AsRoot(comesUp(socket)...)}
				bad.Advice = "have it started at boot"
			}
		}
		return bad
	}}
}

// sayTrust is the minor version of the protocol from which on a daemon says whether it trusts.
const sayTrust = 35

// distrust leaves nobody but root trusted: the last line about it counts.
func distrust(m host.Machine) ([]finding.Command, string) {
	if m.NixOS() {
		return nil, `nix.settings.trusted-users = [ "root" ]; in the machine's configuration, then nixos-rebuild switch`
	}
	mend := []finding.Command{m.Append("/etc/nix/nix.conf", "trusted-users = root")}
	if m.Systemd() {
		return append(mend, m.AsRoot("systemctl", "restart", "nix-daemon.service")), ""
	}
	return mend, "restart the daemon afterwards"
}

// NixImage checks that an engine has the image of the daemon of shared stores (store = "shared"), when that is the one which
// this program makes. program is how it is called.
func NixImage(e *Engine, program, image string) finding.Check {
	return finding.Check{Name: "nix", About: "image " + image, Look: func(ctx context.Context) finding.Result {
		ctx, cancel := context.WithTimeout(ctx, within)
		defer cancel()
		c := e.Connection()
		if c == nil {
			return finding.Skip("the engine could not be asked")
		}
		_, err := c.Image(ctx, image)
		switch {
		case err == nil:
			return finding.OK("the engine has it")
		case !engineapi.IsAbsent(err):
			return finding.Skip("%s", oneLine(err))
		}
		return finding.Result{
			Severity: finding.Failure, What: fmt.Sprintf("the engine has no image %s, of which the Nix daemon of jobs is made", image),
			Why:  "jobs of these runners fail before they begin",
			Mend: []finding.Command{{program, "image", "build", "nix-daemon", "--host", c.Address.Host, "--from", "docker.io/nixos/nix"}},
		}
	}}
}
