package netslot

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// fenceAll does what it can: where it is not allowed, the engine's own walls between networks have to do.
func fenceAll(spaces []string) {
	for _, text := range spaces {
		space, err := netip.ParsePrefix(text)
		if err == nil {
			err = fence(space)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
}

// fence makes a space of addresses unreachable from the namespace, but for what more particular routes lead to: the
// namespace's own subnet in that space. It needs the right to administer the network.
func fence(space netip.Prefix) error {
	if !space.Addr().Is4() {
		return fmt.Errorf("fence off %s: no space of IPv4 addresses", space)
	}
	route := []byte{
		unix.AF_INET, byte(space.Bits()), 0, 0, unix.RT_TABLE_MAIN, unix.RTPROT_STATIC, unix.RT_SCOPE_UNIVERSE, unix.RTN_UNREACHABLE,
		0, 0, 0, 0, // flags
	}
	err := ask(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, route, unix.RTA_DST, space.Masked().Addr())
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("fence off %s: %w", space, err)
	}
	return nil
}
