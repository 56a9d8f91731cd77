// Package nestedneeds is what the engines of jobs (nested in [runners.docker]) need of the machine: the executor says so when one does not
// come up, and doctor beforehand.
package nestedneeds

import (
	"fmt"
	"strconv"
	"strings"
)

// Tun is the device by which networks of nested containers reach the world. The engine's user, who is not root, has to open it: its mode
// is TunMode.
const (
	Tun     = "/dev/net/tun"
	TunMode = 0o666
)

// IDs is how many ids a rootless engine outside has to have: those of nested containers are numbered up to 65,535.
const IDs = 1 << 16

// Kernel is the oldest version of Linux, from which on all users may mount overlays in their namespaces.
var Kernel = [2]int{5, 13} //nolint:gochecknoglobals // a constant

// EnoughKernel compares a release ("6.1.0-25-amd64") with Kernel. One that cannot be read is taken for new.
func EnoughKernel(release string) bool {
	parts := strings.SplitN(release, ".", 3)
	if len(parts) < 2 {
		return true
	}
	major, err := strconv.Atoi(parts[0])
	minor, minorErr := strconv.Atoi(strings.SplitN(parts[1], "-", 2)[0])
	if err != nil || minorErr != nil {
		return true
	}
	return major > Kernel[0] || major == Kernel[0] && minor >= Kernel[1]
}

// Setting is one of the kernel (sysctl) by which user namespaces are kept from ordinary users.
type Setting struct {
	Name  string // "user.max_user_namespaces"
	Of    string // the distribution that has it: "Ubuntu"; empty: all
	Value string // with which they have them
}

// Path is the file of a setting.
func (s Setting) Path() string { return "/proc/sys/" + strings.ReplaceAll(s.Name, ".", "/") }

// Allows reports whether users can make namespaces with a value. Empty means that the kernel does not have the setting.
func (s Setting) Allows(value string) bool {
	if s.Value == "0" {
		return value == "" || value == "0"
	}
	return value != "0"
}

// Settings are those of all distributions.
func Settings() []Setting {
	return []Setting{
		{Name: "user.max_user_namespaces", Value: "28633"},
		{Name: "kernel.unprivileged_userns_clone", Of: "Debian", Value: "1"},
		{Name: "kernel.apparmor_restrict_unprivileged_userns", Of: "Ubuntu", Value: "0"},
	}
}

// SettingsWords names the settings with their values in a sentence.
func SettingsWords() string {
	var words []string
	for _, s := range Settings() {
		of := ""
		if s.Of != "" {
			of = " (" + s.Of + ")"
		}
		words = append(words, s.Name+of+" to "+s.Value)
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " and " + words[last]
}

// KernelWords is the version in a sentence.
func KernelWords() string { return fmt.Sprintf("%d.%d", Kernel[0], Kernel[1]) }
