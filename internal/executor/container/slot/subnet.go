package slot

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strings"
)

// Networks of jobs get subnets of 16 addresses out of this space: the gateway, the job and its services.
const (
	space          = "10.213.0.0/16"
	bits           = 28
	subnetAttempts = 10
)

// free picks a subnet at random that overlaps neither taken nor what this host has routes for.
func free(taken []netip.Prefix) (netip.Prefix, bool) {
	avoid := append(hostRoutes(), taken...)
	whole := netip.MustParsePrefix(space)
	base := whole.Addr().As4()
	n := 1 << (bits - whole.Bits())
	start := rand.IntN(n) //nolint:gosec // not a secret
	for i := range n {
		a := binary.BigEndian.Uint32(base[:]) + uint32((start+i)%n)<<(32-bits) //nolint:gosec // below 2^32
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

// addresses are those of texts that are some.
func addresses(texts []string) []netip.Addr {
	var out []netip.Addr
	for _, t := range texts {
		if a, err := netip.ParseAddr(t); err == nil {
			out = append(out, a)
		}
	}
	return out
}
