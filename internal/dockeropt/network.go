package dockeropt

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strings"

	"github.com/docker/cli/opts"
)

// The words of network_mode that name no network.
const (
	networkBridge    = "bridge"
	networkDefault   = "default"
	networkHost      = "host"
	networkNone      = "none"
	networkContainer = "container:"
)

// hostName is what a line of a hosts file can name.
var hostName = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9_.-]*$`)

// Network is what network_mode asks for.
type Network struct {
	// Mode is what the engine is told; empty for a network that each job has alone.
	Mode string
	// Joined says that the containers share the namespace of another container, which then owns the host name,
	// the name servers and the hosts file.
	Joined bool
	// Host says that they share the host's own.
	Host bool
	// Named says that they get an address each in a network that is there.
	Named bool
}

// NetworkMode reads "" and "bridge" (a network for each job), "host", "none", "container:NAME" or the name of
// a network.
func NetworkMode(s string) (Network, error) {
	switch {
	case s == "" || s == networkBridge || s == networkDefault:
		return Network{}, nil
	case s == networkHost:
		return Network{Mode: s, Host: true}, nil
	case s == networkNone:
		return Network{Mode: s}, nil
	case strings.HasPrefix(s, networkContainer):
		if !engineName.MatchString(strings.TrimPrefix(s, networkContainer)) {
			return Network{}, fmt.Errorf("%q names no container: write container:NAME", s)
		}
		return Network{Mode: s, Joined: true}, nil
	case !engineName.MatchString(s):
		return Network{}, fmt.Errorf("must be bridge, host, none, container:NAME or the name of a network, is %q", s)
	default:
		return Network{Mode: s, Named: true}, nil
	}
}

// Joins reports whether a network_mode makes containers share the namespace of another.
func Joins(mode string) bool { return strings.HasPrefix(mode, networkContainer) }

// Host reads a line for the hosts file, "NAME:ADDRESS" or "NAME:host-gateway", as the engines take it.
func Host(s string) (string, error) {
	h, err := opts.ValidateExtraHost(s)
	if name, _, _ := strings.Cut(h, ":"); err != nil || !hostName.MatchString(name) {
		return "", fmt.Errorf("must be \"NAME:ADDRESS\" or \"NAME:host-gateway\", is %q", s)
	}
	return h, nil
}

// Link reads "CONTAINER[:ALIAS]".
func Link(s string) (container, alias string, err error) {
	container, alias, err = opts.ParseLink(s)
	if err != nil || !engineName.MatchString(container) || !engineName.MatchString(alias) {
		return "", "", fmt.Errorf("must be \"CONTAINER\" or \"CONTAINER:ALIAS\", is %q", s)
	}
	return container, alias, nil
}

// DNS reads the address of a name server.
func DNS(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return a, fmt.Errorf("must be the address of a name server such as \"1.1.1.1\", is %q", s)
	}
	return a, nil
}

// MAC reads the address of a network card; nil for an empty text.
func MAC(s string) (net.HardwareAddr, error) {
	if s == "" {
		return nil, nil
	}
	a, err := net.ParseMAC(s)
	if err != nil || len(a) != 6 || a[0]&1 != 0 { // the bit of groups
		return nil, fmt.Errorf("must be the address of one network card such as \"92:d0:c6:0a:29:33\", is %q", s)
	}
	return a, nil
}
