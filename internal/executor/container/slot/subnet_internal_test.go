package slot

import (
	"net/netip"
	"testing"
)

func TestAddresses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		services, bits int
	}{{0, 0}, {12, 0}, {13, 27}, {28, 27}, {29, 26}, {60, 26}, {124, 25}, {125, 24}, {252, 24}} {
		if got := Bits(c.services); got != c.bits {
			t.Errorf("%d services: /%d, want /%d", c.services, got, c.bits)
		}
		prefix := bits
		if c.bits != 0 {
			prefix = c.bits
		}
		s := Slot{Subnet: netip.PrefixFrom(netip.MustParseAddr("10.213.7.0"), prefix)}
		seen := map[netip.Addr]bool{s.Subnet.Addr(): true, s.Subnet.Addr().Next(): true, s.Job(): true}
		for i := range c.services {
			a := s.Service(i)
			if !s.Subnet.Contains(a) || seen[a] || !s.Subnet.Contains(a.Next()) {
				t.Errorf("service %d of %d: %s", i, c.services, a)
			}
			seen[a] = true
		}
	}
	s := Slot{Subnet: netip.MustParsePrefix("10.213.7.16/28")}
	if s.Job() != netip.MustParseAddr("10.213.7.18") || s.Service(0) != netip.MustParseAddr("10.213.7.30") || s.Service(12).IsValid() {
		t.Errorf("%s, %s, %s", s.Job(), s.Service(0), s.Service(12))
	}
	if (Slot{}).Job().IsValid() || (Slot{}).Service(0).IsValid() {
		t.Error("addresses of no subnet")
	}
}
