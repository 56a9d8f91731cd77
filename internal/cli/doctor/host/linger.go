package host

import (
	"context"
	"fmt"

	"gitlab.com/skerry/skerry/internal/cli/doctor/finding"
)

// Linger checks that systemd keeps an account's services when nobody is logged in to it. It is of use only where systemd runs.
// severity is how bad it is where it does not.
func Linger(m Machine, a Account, severity finding.Severity) finding.Check {
	return finding.Check{Name: "linger", About: "user " + a.Name, Look: func(context.Context) finding.Result {
		if m.has("/var/lib/systemd/linger/" + a.Name) {
			return finding.OK("services of user %s stay when nobody is logged in", a.Name)
		}
		return finding.Result{
			Severity: severity, What: fmt.Sprintf("user %s does not linger", a.Name),
			Why:  "systemd ends the user's engine, containers and runner when the last session ends, and starts none at boot",
			Mend: []finding.Command{m.AsRoot("loginctl", "enable-linger", a.Name)},
		}
	}}
}
