package container

import (
	"slices"
	"sync"

	"gitlab.com/skerry/skerry/internal/dockeropt"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
	"gitlab.com/skerry/skerry/internal/executor/container/seccomp"
)

// imageBuilds is the value of security_opt's seccomp for jobs that build images without an engine, by Buildah and its like. It means
// something with Docker only: what is needed beyond its own profile. Podman's own has it.
const imageBuilds = "image-builds"

// forBuilds is the limits of a job's own container, with the profile imageBuilds where the configuration leaves jobs to what Docker is
// built with. What an administrator has chosen stays: a profile of his, here or in the daemon's configuration, or rights taken away by
// cap_drop. Where AppArmor forbids mounts builders could do nothing with it, and jobs do not get it.
func (l Limits) forBuilds(e *engineapi.Engine) Limits {
	_, chosen := dockeropt.Security(l.SecurityOpt, "seccomp")
	_, apparmor := dockeropt.Security(l.SecurityOpt, "apparmor")
	mountless := e.AppArmor && !apparmor
	if e.Kind != engineapi.Docker || e.Seccomp != engineapi.SeccompBuiltin || chosen || mountless || l.Privileged || len(l.CapDrop) > 0 {
		return l
	}
	l.SecurityOpt = append(slices.Clone(l.SecurityOpt), seccompOption+imageBuilds)
	return l
}

// buildsProfile is the profile imageBuilds, made for the first job that has it. The zero value is ready, and safe for concurrent use.
type buildsProfile struct {
	once sync.Once
	text string
	err  error
}

func (p *buildsProfile) get() (string, error) {
	p.once.Do(func() { p.text, p.err = seccomp.Builds() })
	return p.text, p.err
}
