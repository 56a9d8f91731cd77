package netslot

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
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

// TestUnusedProtocolsAreNotListed wants the kernel's count to be believed where it is none, and only there.
func TestUnusedProtocolsAreNotListed(t *testing.T) {
	t.Parallel()
	list := "sl local rem st\n0: 0100007F:0050 00000000:0000 0A\n"
	for name, c := range map[string]struct {
		sockstat, sockstat6 string
		want                []string
	}{
		"none":         {"sockets: used 3\nTCP: inuse 0 orphan 0 tw 4 alloc 0 mem 0\nUDP: inuse 1 mem 0\n", "TCP6: inuse 0\nUDP6: inuse 0\n", nil},
		"one of each":  {"TCP: inuse 1 orphan 0 tw 0 alloc 1 mem 0\n", "TCP6: inuse 1\n", []string{"tcp", "tcp6"}},
		"one of six":   {"TCP: inuse 0 orphan 0 tw 0 alloc 0 mem 0\n", "TCP6: inuse 12\n", []string{"tcp6"}},
		"not said":     {"sockets: used 3\n", "", []string{"tcp", "tcp6"}},
		"said in vain": {"TCP: orphan 0\n", "TCP6:\n", []string{"tcp", "tcp6"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			err := os.Mkdir(filepath.Join(dir, "net"), 0o755)
			for file, text := range map[string]string{"tcp": list, "tcp6": list, "sockstat": c.sockstat, "sockstat6": c.sockstat6} {
				err = errors.Join(err, os.WriteFile(filepath.Join(dir, "net", file), []byte(text), 0o600))
			}
			if err != nil {
				t.Fatal(err)
			}
			s, err := look(dir)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, socket := range s.Sockets {
				got = append(got, strings.Fields(socket)[0])
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestListeningIsSeen wants a listener of the very namespace to be counted by the kernel.
func TestListeningIsSeen(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Logf("%v: not tried", err)
			continue
		}
		s, err := look("/proc")
		if err != nil {
			t.Fatal(err)
		}
		_, port, _ := net.SplitHostPort(l.Addr().String())
		n, _ := strconv.Atoi(port)
		if !strings.Contains(strings.Join(s.Sockets, "\n"), fmt.Sprintf(":%04X ", n)) {
			t.Errorf("%s is not among %q", l.Addr(), s.Sockets)
		}
		l.Close()
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
	port := refusing(t)
	for name, c := range map[string]struct {
		ports   []uint16
		timeout time.Duration
		fails   bool
	}{
		"one":  {ports: []uint16{port, open.Port()}, timeout: time.Minute},
		"none": {ports: []uint16{port}, timeout: time.Second, fails: true},
	} {
		a := up(context.Background(), Ask{Timeout: c.timeout, Reach: []Target{{Name: name, Address: open.Addr(), Ports: c.ports}}}, "")
		if _, failed := a.Failed[name]; failed != c.fails || c.fails && !strings.Contains(a.Failed[name], "refused") {
			t.Errorf("%s: %+v", name, a)
		}
	}
}

// refusing is a port of 127.0.0.1 that nobody listens on, and nobody else gets while the test runs.
func refusing(t *testing.T) uint16 {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	at, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return uint16(at.(*unix.SockaddrInet4).Port)
}
