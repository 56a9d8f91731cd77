package container

import (
	"regexp"
	"strings"

	"github.com/distribution/reference"
)

// serviceName is what GitLab reads out of the name of a service's image.
type serviceName struct {
	Service string   // without the registry's port and the version; empty when the name is none
	Version string   // "latest", a tag, or "@sha256:…"
	Aliases []string // host names: / becomes __, and - where that differs
}

var (
	registryPort = regexp.MustCompile(`^(.*?)(?::[0-9]+)?(/.*)?$`)
	digestAtEnd  = regexp.MustCompile(`@sha256:.{64}$`)
)

// parseServiceName reads the name of an image such as "registry.example.com:5000/group/db:16".
// Source of the rules: gitlab-runner helpers/container/services.
func parseServiceName(image string) serviceName {
	parts := reference.ReferenceRegexp.FindStringSubmatch(image)
	if parts == nil {
		return serviceName{Version: "latest"}
	}
	n := serviceName{Version: parts[2]}
	port := registryPort.FindStringSubmatch(parts[1])
	n.Service = port[1] + port[2]
	if n.Version == "" {
		if n.Version = digestAtEnd.FindString(image); n.Version == "" {
			n.Version = "latest"
		}
	}
	n.Aliases = []string{strings.ReplaceAll(n.Service, "/", "__")}
	if strings.Contains(n.Service, "/") {
		n.Aliases = append(n.Aliases, strings.ReplaceAll(n.Service, "/", "-"))
	}
	return n
}

// String is the service as GitLab Runner's log names it: "db:16", "db@sha256:…".
func (n serviceName) String() string {
	if strings.HasPrefix(n.Version, "@sha256") {
		return n.Service + n.Version
	}
	return n.Service + ":" + n.Version
}

// givenAliases are the names that `alias` lists, separated by spaces or commas.
func givenAliases(alias string) []string {
	return strings.Fields(strings.ReplaceAll(alias, ",", " "))
}
