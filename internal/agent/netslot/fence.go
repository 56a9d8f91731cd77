package netslot

import (
	"encoding/binary"
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
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("fence off %s: %w", space, os.NewSyscallError("socket", err))
	}
	defer unix.Close(fd) //nolint:errcheck // nothing is lost
	if err := unix.Sendto(fd, unreachable(space), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("fence off %s: %w", space, os.NewSyscallError("sendto", err))
	}
	answer := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, answer, 0)
	if err != nil {
		return fmt.Errorf("fence off %s: %w", space, os.NewSyscallError("recvfrom", err))
	}
	if n < unix.NLMSG_HDRLEN+4 {
		return fmt.Errorf("fence off %s: the kernel's answer has %d bytes", space, n)
	}
	code := int32(binary.NativeEndian.Uint32(answer[unix.NLMSG_HDRLEN:])) //nolint:gosec // its sign says that it is an error
	if errno := unix.Errno(-code); code != 0 && errno != unix.EEXIST {
		return fmt.Errorf("fence off %s: %w", space, errno)
	}
	return nil
}

// unreachable is the request for a route, see rtnetlink(7).
func unreachable(space netip.Prefix) []byte {
	const size = unix.NLMSG_HDRLEN + unix.SizeofRtMsg + unix.SizeofRtAttr + 4
	order := binary.NativeEndian
	m := order.AppendUint32(nil, size)
	m = order.AppendUint16(m, unix.RTM_NEWROUTE)
	m = order.AppendUint16(m, unix.NLM_F_REQUEST|unix.NLM_F_ACK|unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	m = append(m, make([]byte, 8)...) // sequence and port
	m = append(m, unix.AF_INET, byte(space.Bits()), 0, 0, unix.RT_TABLE_MAIN, unix.RTPROT_STATIC, unix.RT_SCOPE_UNIVERSE, unix.RTN_UNREACHABLE)
	m = order.AppendUint32(m, 0) // flags
	m = order.AppendUint16(m, unix.SizeofRtAttr+4)
	m = order.AppendUint16(m, unix.RTA_DST)
	a := space.Masked().Addr().As4()
	return append(m, a[:]...)
}
