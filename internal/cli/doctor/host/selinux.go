package host

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"gitlab.com/skerry/skerry/internal/cli/doctor/finding"
	"gitlab.com/skerry/skerry/internal/dockeropt"
)

// Enforcing reports whether SELinux denies what its policy does not allow.
func (m Machine) Enforcing() bool { return m.word("/sys/fs/selinux/enforce") == "1" }

// SELinux checks that the policy knows containers, and that directories of the machine which jobs have mounted (volumes in
// [runners.docker]) get its label. It is of use only where SELinux is Enforcing.
func SELinux(m Machine, volumes []string) finding.Check {
	return finding.Check{Name: "selinux", Look: func(context.Context) finding.Result {
		found, seen := m.policyOfContainers()
		if !seen {
			return finding.Skip("this user may not look at the policy: run `doctor selinux` as root")
		}
		if !found {
			bad := finding.Result{
				Severity: finding.Failure, What: "SELinux is enforced, and its policy does not know containers",
				Why:  "what it denies fails in jobs as permission denied, where nothing else explains it",
				Mend: m.Install("", "container-selinux", "container-selinux", "container-selinux", ""),
			}
			if bad.Mend == nil {
				bad.Advice = "install the policy's module container (package container-selinux)"
			}
			return bad
		}
		var bare []string
		for _, text := range volumes {
			v, err := dockeropt.ParseVolume(text)
			if err == nil && filepath.IsAbs(v.Source) && !strings.ContainsAny(v.Mode, "zZ") {
				bare = append(bare, text)
			}
		}
		if len(bare) > 0 {
			return finding.Result{
				Severity: finding.Warning, What: fmt.Sprintf("SELinux is enforced, and these volumes keep the machine's label: %s", strings.Join(bare, ", ")),
				Why:    "jobs may not read what is in them",
				Advice: fmt.Sprintf("write them with the option z, as in %q, or give containers security_opt = [\"label=disable\"]", withLabel(bare[0])),
			}
		}
		return finding.OK("the policy knows containers")
	}}
}

// policyOfContainers reports whether the policy has the module for containers, and whether that could be seen: in Debian only root
// may look at the modules, and every user at the labels of files, which come from them.
func (m Machine) policyOfContainers() (found, seen bool) {
	glob := func(pattern string) []string {
		match, err := filepath.Glob(m.at(pattern))
		if err != nil {
			return nil
		}
		return match
	}
	for _, pattern := range []string{"/var/lib/selinux/*/active/modules/*/container", "/etc/selinux/*/active/modules/*/container", "/usr/share/selinux/packages/container.pp*"} {
		if len(glob(pattern)) > 0 {
			return true, true
		}
	}
	seen = m.UID == 0
	for _, file := range glob("/etc/selinux/*/contexts/files/file_contexts*") {
		text, err := os.ReadFile(file)
		if err == nil && bytes.Contains(text, []byte(":container_file_t")) {
			return true, true
		}
		seen = seen || err == nil
	}
	return false, seen
}

// withLabel is a volume with the option z.
func withLabel(volume string) string {
	if strings.Count(volume, ":") == 2 {
		return volume + ",z"
	}
	return volume + ":z"
}
