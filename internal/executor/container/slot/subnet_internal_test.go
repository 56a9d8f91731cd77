package slot

import (
	"net/netip"
	"testing"

	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
)

// TestEnginesOfOneMachine has the engines of one machine make networks at the same time, of which none sees the other's yet.
func TestEnginesOfOneMachine(t *testing.T) {
	t.Parallel()
	var picked [2]map[netip.Prefix]bool
	for i, kind := range []engineapi.Kind{engineapi.Docker, engineapi.Podman} {
		picked[i] = map[netip.Prefix]bool{}
		for range 200 {
			p, ok := free(kind, nil, bits)
			if !ok {
				t.Fatal("no subnet is free")
			}
			picked[i][p] = true
		}
	}
	for p := range picked[0] {
		if picked[1][p] {
			t.Fatalf("both have taken %s", p)
		}
	}
	for _, kind := range []engineapi.Kind{engineapi.Docker, engineapi.Podman} {
		var taken []netip.Prefix
		halves := map[bool]int{}
		for {
			p, ok := free(kind, taken, 24)
			if !ok {
				break
			}
			if !netip.MustParsePrefix(space).Overlaps(p) || overlaps(p, taken) {
				t.Fatalf("%v has %s after %v", kind, p, taken)
			}
			taken = append(taken, p)
			halves[p.Addr().As4()[2] < 128]++
		}
		if halves[true] == 0 || halves[false] == 0 { // this machine itself may have some
			t.Errorf("%v leaves a half to others when its own is full: %v", kind, halves)
		}
	}
}

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
