package peer_test

import (
	"fmt"
	"testing"

	"gitlab.com/skerry/skerry/internal/cli/doctor/finding"
	"gitlab.com/skerry/skerry/internal/cli/doctor/peer"
)

// TestBuilders says what works with engines that are confined in different ways, and what else there is to set.
func TestBuilders(t *testing.T) {
	t.Parallel()
	const all, some = "jobs build images by Kaniko, Buildah and podman build", "jobs build images by Kaniko, not by Buildah and podman build: "
	option := func(s string) peer.Rights { return peer.Rights{SecurityOpt: []string{s}} }
	for _, c := range []struct {
		kind, options string
		rights        peer.Rights
		want          string
	}{
		{"docker", `"name=seccomp,profile=default"`, peer.Rights{}, all},
		{"docker", `"name=seccomp,profile=builtin","name=rootless"`, option("label=disable"), all},
		{"docker", ``, peer.Rights{}, all},
		{"docker", `"name=seccomp,profile=unconfined"`, peer.Rights{CapDrop: []string{"NET_RAW"}}, all},
		{"docker", `"name=seccomp,profile=builtin"`, option("seccomp=builtin"), some + `security_opt has "seccomp=builtin"`},
		{"docker", `"name=seccomp,profile=builtin"`, option("seccomp=image-builds"), all},
		{"docker", `"name=seccomp,profile=builtin"`, option("seccomp=/srv/p.json"), "up to the seccomp profile in security_opt"},
		{"docker", `"name=seccomp,profile=/etc/docker/p.json"`, peer.Rights{}, `/etc/docker/p.json; security_opt = ["seccomp=image-builds"]`},
		{"docker", `"name=seccomp,profile=builtin"`, peer.Rights{CapDrop: []string{"NET_RAW"}}, some + "cap_drop is set"},
		{"docker", `"name=apparmor","name=seccomp,profile=builtin"`, peer.Rights{}, some + `AppArmor forbids mounts; security_opt = ["apparmor=unconfined"]`},
		{"docker", `"name=apparmor","name=seccomp,profile=builtin"`, option("apparmor=unconfined"), all},
		{"docker", `"name=seccomp,profile=builtin"`, peer.Rights{Privileged: true}, "privileged = true"},
		{"podman", `"name=apparmor","name=seccomp,profile=default"`, peer.Rights{}, some + "AppArmor"},
		{"podman", `"name=apparmor","name=rootless"`, peer.Rights{}, all},
		{"podman", `"name=seccomp,profile=default"`, option("seccomp=builtin"), all},
	} {
		socket := serveInfo(t, c.kind, "20.10.24", fmt.Sprintf(`{"Driver":"overlay2","DockerRootDir":"/storage","SecurityOptions":[%s]}`, c.options))
		e := at(t, here(), "unix://"+socket)
		want(t, peer.Builders(e, nil), finding.Skipped, "could not be asked", "")
		want(t, e.Check(), finding.Fine, c.kind, "")
		want(t, peer.Builders(e, []peer.Rights{c.rights, c.rights}), finding.Fine, c.want, "")
	}
}
