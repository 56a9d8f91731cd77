package host

import (
	"context"
	"fmt"

	"gitlab.com/skerry/skerry/internal/cli/doctor/finding"
)

// device checks a device that an account has to open.
func device(m Machine, a Account, name, path, module, why string) finding.Check {
	return finding.Check{Name: name, About: "user " + a.Name, Look: func(context.Context) finding.Result {
		there, may := m.mayUse(path, a)
		if may {
			return finding.OK("%s is there", path)
		}
		bad := finding.Result{Severity: finding.Failure, Why: why}
		switch {
		case there:
			bad.What = fmt.Sprintf("user %s may not read and write %s", a.Name, path)
			bad.Mend = []finding.Command{m.AsRoot("chmod", "0666", path)}
		case m.InContainer():
			bad.What = "there is no " + path
			bad.Advice = fmt.Sprintf("start this container with --device %s", path)
		default:
			bad.What = "there is no " + path
			bad.Mend = []finding.Command{m.AsRoot("modprobe", module)}
		}
		return bad
	}}
}
