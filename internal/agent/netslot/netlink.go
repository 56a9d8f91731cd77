package netslot

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// ask sends the kernel a request about the namespace's network, see rtnetlink(7): of kind, with the fixed part body and
// one attribute, an address. It returns the kernel's answer.
func ask(kind, flags uint16, body []byte, attribute uint16, address netip.Addr) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd) //nolint:errcheck // nothing is lost
	order, a := binary.NativeEndian, address.As4()
	m := order.AppendUint32(nil, uint32(unix.NLMSG_HDRLEN+len(body)+unix.SizeofRtAttr+len(a))) //nolint:gosec // small
	m = order.AppendUint16(m, kind)
	m = order.AppendUint16(m, unix.NLM_F_REQUEST|unix.NLM_F_ACK|flags)
	m = append(m, make([]byte, 8)...) // sequence and port
	m = append(m, body...)
	m = order.AppendUint16(m, unix.SizeofRtAttr+uint16(len(a)))
	m = order.AppendUint16(m, attribute)
	m = append(m, a[:]...)
	if err := unix.Sendto(fd, m, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return os.NewSyscallError("sendto", err)
	}
	answer := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, answer, 0)
	if err != nil {
		return os.NewSyscallError("recvfrom", err)
	}
	if n < unix.NLMSG_HDRLEN+4 {
		return fmt.Errorf("the kernel's answer has %d bytes", n)
	}
	if code := int32(binary.NativeEndian.Uint32(answer[unix.NLMSG_HDRLEN:])); code != 0 { //nolint:gosec // its sign says that it is an error
		return unix.Errno(-code)
	}
	return nil
}
