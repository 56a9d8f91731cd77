package netslot

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"
)

// forgetGateways makes the namespace learn anew where its gateways are. Podman's bridges have the least of the hardware
// addresses of what is connected to them, so that of a service may be known for the gateway's, and leads nowhere when
// the service is gone. Where it is not allowed it does nothing: those bridges have an address of their own.
func forgetGateways(routes []string) error {
	for _, r := range routes {
		f := strings.Fields(r) // "route", interface, destination, gateway
		g := gateways([]string{r})
		if len(g) == 0 || f[1] == "*" {
			continue
		}
		address, err := netip.ParseAddr(strings.TrimPrefix(g[0], "arp "))
		if err != nil || address.IsUnspecified() {
			continue
		}
		i, err := net.InterfaceByName(f[1])
		if err != nil {
			return fmt.Errorf("forget the gateway %s: %w", address, err)
		}
		neighbour := []byte{unix.AF_INET, 0, 0, 0}
		neighbour = binary.NativeEndian.AppendUint32(neighbour, uint32(i.Index)) //nolint:gosec // positive
		neighbour = append(neighbour, 0, 0, 0, 0)                                // state, flags and type
		err = ask(unix.RTM_DELNEIGH, 0, neighbour, unix.NDA_DST, address)
		if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EPERM) {
			return fmt.Errorf("forget the gateway %s: %w", address, err)
		}
	}
	return nil
}
