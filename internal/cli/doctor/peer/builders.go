package peer

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"gitlab.com/skerry/skerry/internal/cli/doctor/finding"
	"gitlab.com/skerry/skerry/internal/dockeropt"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
)

// Rights is what a runner entry says of what its jobs may do.
type Rights struct {
	Privileged           bool
	SecurityOpt, CapDrop []string
}

// Builders checks which builders of images work in jobs of an engine; what jobs may do is the operator's choice, and nothing of it is
// wrong. all are the rights that its runner entries give.
func Builders(e *Engine, all []Rights) finding.Check {
	return finding.Check{Name: "builders", About: shown(e.Facts().Found.Host), Look: func(context.Context) finding.Result {
		c := e.Connection()
		if c == nil {
			return finding.Skip("the engine could not be asked")
		}
		var said []string
		for _, r := range all {
			if s := r.builders(c); !slices.Contains(said, s) {
				said = append(said, s)
			}
		}
		return finding.OK("%s", strings.Join(said, "; "))
	}}
}

// builders says which work with these rights.
func (r Rights) builders(e *engineapi.Engine) string {
	const kaniko, everywhere = "jobs build images by Kaniko, not by Buildah and podman build", "jobs build images by Kaniko, Buildah and podman build"
	profile, chosen := dockeropt.Security(r.SecurityOpt, "seccomp")
	_, confined := dockeropt.Security(r.SecurityOpt, "apparmor")
	docker := e.Kind == engineapi.Docker
	switch {
	case r.Privileged:
		return everywhere + ", and do anything to this machine: privileged = true"
	case e.AppArmor && !confined && (docker || !e.Rootless):
		return kaniko + `: AppArmor forbids mounts; security_opt = ["apparmor=unconfined"] in [runners.docker] lets them`
	case chosen && docker && profile == engineapi.SeccompBuiltin:
		return kaniko + `: security_opt has "seccomp=builtin"; without it jobs have the runner's profile`
	case chosen && (profile == "image-builds" || profile == "unconfined" || profile == engineapi.SeccompBuiltin), !docker && !chosen:
		return everywhere
	case chosen:
		return "whether jobs build images by Buildah and podman build is up to the seccomp profile in security_opt"
	case e.Seccomp != "" && e.Seccomp != "unconfined" && e.Seccomp != engineapi.SeccompBuiltin:
		return fmt.Sprintf(`whether jobs build images by Buildah and podman build is up to the daemon's seccomp profile %s; security_opt = ["seccomp=image-builds"] in [runners.docker] takes its place`, e.Seccomp)
	case len(r.CapDrop) > 0 && e.Seccomp == engineapi.SeccompBuiltin:
		return kaniko + `: cap_drop is set; security_opt = ["seccomp=image-builds"] in [runners.docker] lets them`
	}
	return everywhere
}
