package slot

import (
	"bufio"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"net"
	"net/netip"
	"os"
	"strings"

	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
)

// Networks of jobs get small subnets out of this space: the gateway, the job and its services.
const (
	space          = "10.213.0.0/16"
	bits           = 28 // unless there are many services
	subnetAttempts = 10
)

// reserved is how many addresses of a subnet are not for services: the network's own, the gateway's, the
// job's and the one for broadcasts.
const reserved = 4

// MaxServices is how many services the largest subnet has addresses for.
const MaxServices = 256 - reserved

// Bits is the length of the prefix of the smallest subnet that has room for a job with n services; 0 is
// that of most jobs.
func Bits(n int) int {
	b := bits
	for 1<<(32-b)-reserved < n && b > 24 {
		b--
	}
	if b == bits {
		return 0
	}
	return b
}

// Job is the address of the container that holds the namespace, and so of the job; invalid when the
// subnet is not known.
func (s Slot) Job() netip.Addr {
	if !s.Subnet.IsValid() {
		return netip.Addr{}
	}
	return s.Subnet.Masked().Addr().Next().Next()
}

// Service is the address of the job's i-th service, counted from the end of the subnet; invalid when
// there is none.
func (s Slot) Service(i int) netip.Addr {
	if !s.Subnet.IsValid() || i < 0 || i >= 1<<(32-s.Subnet.Bits())-reserved {
		return netip.Addr{}
	}
	b := s.Subnet.Masked().Addr().As4()
	last := binary.BigEndian.Uint32(b[:]) + 1<<(32-s.Subnet.Bits()) - 2
	binary.BigEndian.PutUint32(b[:], last-uint32(i)) //nolint:gosec // below the subnet's size
	return netip.AddrFrom4(b)
}

// free picks a subnet at random that overlaps neither taken nor what this host has routes for. Each kind of engine begins in a half of
// its own: a network of Podman has no route before its first container is started, and Docker would take its subnet meanwhile.
func free(engine engineapi.Kind, taken []netip.Prefix, bits int) (netip.Prefix, bool) {
	avoid := append(hostRoutes(), taken...)
	whole := netip.MustParsePrefix(space)
	base := whole.Addr().As4()
	n := 1 << (bits - whole.Bits())
	half, own := n/2, 0
	if engine == engineapi.Podman {
		own = half
	}
	var random [2]byte
	_, _ = rand.Read(random[:]) // never fails, crypto/rand
	start := int(binary.BigEndian.Uint16(random[:])) % half
	for i := range n {
		at := (start + i) % half
		if i < half {
			at += own
		} else {
			at += half - own
		}
		a := binary.BigEndian.Uint32(base[:]) + uint32(at)<<(32-bits) //nolint:gosec // below 2^32
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], a)
		p := netip.PrefixFrom(netip.AddrFrom4(b), bits)
		if !overlaps(p, avoid) {
			return p, true
		}
	}
	return netip.Prefix{}, false
}

func overlaps(p netip.Prefix, others []netip.Prefix) bool {
	for _, o := range others {
		if p.Overlaps(o) {
			return true
		}
	}
	return false
}

// hostRoutes are the networks that this host's addresses and routes reach, the default route left out.
func hostRoutes() []netip.Prefix {
	var out []netip.Prefix
	if addrs, err := net.InterfaceAddrs(); err == nil {
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				out = append(out, p.Masked())
			}
		}
	}
	f, err := os.Open("/proc/net/route")
	if err != nil {
		return out
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 8 {
			continue
		}
		dest, err1 := hex.DecodeString(fields[1])
		mask, err2 := hex.DecodeString(fields[7])
		if err1 != nil || err2 != nil || len(dest) != 4 || len(mask) != 4 {
			continue
		}
		ones, _ := net.IPv4Mask(mask[3], mask[2], mask[1], mask[0]).Size()
		if ones > 0 {
			out = append(out, netip.PrefixFrom(netip.AddrFrom4([4]byte{dest[3], dest[2], dest[1], dest[0]}), ones))
		}
	}
	return out
}

// random6 is a subnet of the addresses that every site may use for itself (RFC 4193).
func random6() netip.Prefix {
	var b [16]byte
	_, _ = rand.Read(b[1:8]) // never fails, crypto/rand
	b[0] = 0xfd
	return netip.PrefixFrom(netip.AddrFrom16(b), 64)
}
