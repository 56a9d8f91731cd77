package netslot

import (
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestCompareSeesWhatAJobLeft opens a socket in this test's own namespace.
func TestCompareSeesWhatAJobLeft(t *testing.T) {
	dir := t.TempDir()
	file, hosts := filepath.Join(dir, "birth"), filepath.Join(dir, "hosts")
	if err := os.WriteFile(hosts, []byte("127.0.0.1 localhost\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := remember(file, hosts); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", "@skerry-test-"+filepath.Base(dir))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := addHosts(hosts, []string{"10.0.0.1\tdb"}); err != nil {
		t.Fatal(err)
	}
	if err := remember(file, hosts); err != nil { // an agent that is started again
		t.Fatal(err)
	}
	changes, err := compare(file, hosts)
	if err != nil {
		t.Fatal(err)
	}
	if all := strings.Join(changes, "\n"); !strings.Contains(all, "+ unix @skerry-test-") {
		t.Errorf("the socket was not seen:\n%s", all)
	}
	if b, err := os.ReadFile(hosts); err != nil || string(b) != "127.0.0.1 localhost\n" {
		t.Errorf("hosts: %q, %v", b, err)
	}
}

func TestLookReadsTables(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "net"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"route":      "Iface Destination Gateway Flags RefCnt Use Metric Mask\neth0 00000000 F1C5D50A 0003 0 0 0 00000000 0 0 0\n",
		"ipv6_route": "fe80000000000000 40 0 00 0 100 1 0 1 eth0\n20010db8 40 0 00 gw 100 1 0 1 eth0\n",
		"arp":        "IP address HW type Flags\n10.0.0.2 0x1 0x2 02:42 * eth0\n10.0.0.14 0x1 0x2 02:42:0a:00:00:0e * eth0\n10.213.197.241 0x1 0x2 02:42 * eth0\n10.213.197.241 0x1 0x6 02:42 * eth0\n",
		"tcp":        "sl local rem st\n0: 0100007F:0050 00000000:0000 0A\n1: 0100007F:0051 0100007F:0052 06\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, "net", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, err := look(dir)
	if err != nil {
		t.Fatal(err)
	}
	s.Addresses = nil // this machine's
	want := State{
		Routes:     []string{"ipv6_route 20010db8 40 0 00 gw", "route eth0 00000000 F1C5D50A 0003 0 0 0 00000000"},
		Neighbours: []string{"arp 10.0.0.2", "arp 10.213.197.241 0x6"},
		Sockets:    []string{"tcp 0100007F:0050 00000000:0000 0A"},
	}
	if d := cmp.Diff(want, s); d != "" {
		t.Error(d)
	}
}

func TestUpWaitsForAnyPort(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	open := netip.MustParseAddrPort(l.Addr().String())
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := netip.MustParseAddrPort(closed.Addr().String()).Port()
	closed.Close()
	a := up(context.Background(), Ask{Timeout: 200 * time.Millisecond, Reach: []Target{
		{Name: "one", Address: open.Addr(), Ports: []uint16{port, open.Port()}},
		{Name: "none", Address: open.Addr(), Ports: []uint16{port}},
	}}, "")
	if _, failed := a.Failed["one"]; failed || !strings.Contains(a.Failed["none"], "refused") {
		t.Errorf("%+v", a)
	}
}
