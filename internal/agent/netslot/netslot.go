// Package netslot is what the agent's program does in the container that holds a job's network namespace:
// it waits (Pause), says what is in the namespace (Look), so that one which is used again is known to be as
// it was made, and names and reaches services (Up). It is asked at its Door, or by exec.
package netslot

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Commands are the arguments of the agent's program that belong here.
const (
	CommandPause = "pause" // fence off the spaces that further arguments name, remember the State in Birth and wait until TERM
	CommandLook  = "look"  // print what differs from it, a list of strings as JSON
	CommandUp    = "up"    // read an Ask as JSON from the next argument, print an Answer as JSON
)

// Main runs a command; ok is false when args name none of them.
func Main(args []string, out io.Writer) (ok bool, err error) {
	switch {
	case len(args) > 0 && args[0] == CommandPause:
		fenceAll(args[1:])
		if err := remember(Birth, hostsFile); err != nil {
			return true, err
		}
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
		defer stop()
		wait(ctx, Door, Birth, hostsFile, os.Stderr)
		return true, nil
	case len(args) == 1 && args[0] == CommandLook:
		return true, request{Command: CommandLook}.print(out)
	case len(args) == 2 && args[0] == CommandUp:
		var ask Ask
		if err := json.Unmarshal([]byte(args[1]), &ask); err != nil {
			return true, fmt.Errorf("read what is asked of the network: %w", err)
		}
		return true, request{Command: CommandUp, Ask: &ask}.print(out)
	default:
		return false, nil
	}
}

// request is what the holder of a network is asked, by exec or at its door.
type request struct {
	Command string `json:"command"` // CommandLook or CommandUp
	Ask     *Ask   `json:"ask,omitempty"`
}

// do does it and returns what the command prints.
func (q request) do(ctx context.Context, birth, hosts string) (any, error) {
	switch {
	case q.Command == CommandLook:
		return compare(birth, hosts)
	case q.Command == CommandUp && q.Ask != nil:
		return up(ctx, *q.Ask, hosts), nil
	default:
		return nil, fmt.Errorf("the holder of a network does not know %q", q.Command)
	}
}

func (q request) print(out io.Writer) error {
	answer, err := q.do(context.Background(), Birth, hostsFile)
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(answer)
}

// Birth is the file in which the namespace's state at its beginning is kept, on a mount that only the
// container which holds the namespace has.
const Birth = "/.skerry/state/birth.json"

// hostsFile is shared by all containers that join the namespace. The engine adds their names to it.
const hostsFile = "/etc/hosts"

// birth is the content of Birth.
type birth struct {
	State State  `json:"state"`
	Hosts []byte `json:"hosts"`
}

// remember writes the present state, unless an earlier process of the container has.
func remember(path, hosts string) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	s, err := look("/proc")
	if err != nil {
		return err
	}
	names, err := os.ReadFile(hosts)
	if err != nil {
		return fmt.Errorf("remember the network's names: %w", err)
	}
	raw, err := json.Marshal(birth{s, names})
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		return fmt.Errorf("remember the network's state: %w", err)
	}
	return nil
}

// compare says what the namespace has now and had not then, "+ …", and the other way round, "- …". The names
// of the job's services and containers are taken out of the hosts file, and gateways are forgotten.
func compare(path, hosts string) ([]string, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the network's first state: %w", err)
	}
	var first birth
	if err := json.Unmarshal(raw, &first); err != nil {
		return nil, fmt.Errorf("read the network's first state: %w", err)
	}
	if err := os.WriteFile(hosts, first.Hosts, 0o644); err != nil { //nolint:gosec // every user of the job reads it
		return nil, fmt.Errorf("restore the network's names: %w", err)
	}
	was := first.State
	is, err := look("/proc")
	if err != nil {
		return nil, err
	}
	changes := []string{}
	for _, c := range [][2][]string{
		{was.Addresses, is.Addresses}, {was.Routes, is.Routes}, {was.Neighbours, is.Neighbours}, {was.Sockets, is.Sockets},
	} {
		for _, had := range c[0] {
			if !slices.Contains(c[1], had) {
				changes = append(changes, "- "+had)
			}
		}
		for _, has := range c[1] {
			if !slices.Contains(c[0], has) {
				changes = append(changes, "+ "+has)
			}
		}
	}
	return changes, forgetGateways(is.Routes)
}

// State is what a network namespace holds. Addresses that only the link knows are left out: the kernel
// gives them some time after the start.
type State struct {
	Addresses  []string `json:"addresses"`
	Routes     []string `json:"routes"`
	Neighbours []string `json:"neighbours"`
	Sockets    []string `json:"sockets"` // those that are waiting out their time (TIME_WAIT) are left out
}

func look(proc string) (State, error) {
	var s State
	interfaces, err := net.Interfaces()
	if err != nil {
		return s, fmt.Errorf("list network interfaces: %w", err)
	}
	for _, i := range interfaces {
		addrs, err := i.Addrs()
		if err != nil {
			return s, fmt.Errorf("addresses of %s: %w", i.Name, err)
		}
		s.Addresses = append(s.Addresses, fmt.Sprintf("%s %s %s", i.Name, i.HardwareAddr, i.Flags))
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().IsLinkLocalUnicast() {
				continue
			}
			s.Addresses = append(s.Addresses, i.Name+" "+a.String())
		}
	}
	for _, t := range []struct {
		file  string
		into  *[]string
		field func([]string) string
	}{
		{"route", &s.Routes, func(f []string) string { return strings.Join(f[:min(8, len(f))], " ") }},
		{"ipv6_route", &s.Routes, route6},
		{"arp", &s.Neighbours, neighbour},
		{"tcp", &s.Sockets, socket}, {"tcp6", &s.Sockets, socket}, {"udp", &s.Sockets, socket}, {"udp6", &s.Sockets, socket},
		{"raw", &s.Sockets, socket}, {"raw6", &s.Sockets, socket}, {"udplite", &s.Sockets, socket}, {"packet", &s.Sockets, whole},
		{"unix", &s.Sockets, abstract},
	} {
		for _, f := range table(proc, t.file) {
			if t.file == "arp" && derived(f) {
				continue
			}
			if text := t.field(f); text != "" {
				*t.into = append(*t.into, t.file+" "+text)
			}
		}
		slices.Sort(*t.into)
	}
	s.Neighbours = slices.DeleteFunc(s.Neighbours, func(n string) bool { return slices.Contains(gateways(s.Routes), n) })
	return s, nil
}

// table is a table of the kernel's about the network, in fields; empty where there is no such protocol.
func table(proc, file string) (lines [][]string) {
	if unused(proc, file) {
		return nil
	}
	raw, err := os.ReadFile(proc + "/net/" + file)
	if err != nil {
		return nil
	}
	for i, line := range strings.Split(strings.TrimRight(string(raw), "\n"), "\n") {
		f := strings.Fields(line)
		if len(f) < 2 || i == 0 && file != "ipv6_route" {
			continue // a heading
		}
		lines = append(lines, f)
	}
	return lines
}

// unused reports whether the namespace has no connection of a protocol but those that wait out their time. The kernel
// counts them, while its list of them is found in a table of all namespaces, which takes milliseconds to go through.
func unused(proc, file string) bool {
	of := map[string]struct{ file, line string }{"tcp": {"sockstat", "TCP:"}, "tcp6": {"sockstat6", "TCP6:"}}[file]
	raw, err := os.ReadFile(proc + "/net/" + of.file)
	if of.file == "" || err != nil {
		return false
	}
	for line := range strings.Lines(string(raw)) {
		if f := strings.Fields(line); len(f) > 2 && f[0] == of.line && f[1] == "inuse" {
			return f[2] == "0"
		}
	}
	return false
}

// neighbour is an entry's address, with a mark when somebody has set it. What the kernel has learnt it asks for again.
func neighbour(f []string) string {
	if len(f) > 2 {
		if flags, err := strconv.ParseUint(strings.TrimPrefix(f[2], "0x"), 16, 32); err == nil && flags&^2 != 0 {
			return f[0] + " " + f[2]
		}
	}
	return f[0]
}

// gateways are the neighbours that routes lead to: every job that reaches anything has learnt of them.
func gateways(routes []string) []string {
	var out []string
	for _, r := range routes {
		f := strings.Fields(r)
		if len(f) < 4 || f[0] != "route" {
			continue
		}
		if b, err := hex.DecodeString(f[3]); err == nil && len(b) == 4 {
			out = append(out, fmt.Sprintf("arp %d.%d.%d.%d", b[3], b[2], b[1], b[0]))
		}
	}
	return out
}

// derived reports whether an entry of /proc/net/arp is that of a service: their MAC addresses follow from
// their addresses, so that it is right for a later service, too.
func derived(f []string) bool {
	a, err := netip.ParseAddr(f[0])
	if err != nil || !a.Is4() || len(f) < 4 {
		return false
	}
	b := a.As4()
	return f[2] == "0x2" && strings.EqualFold(f[3], fmt.Sprintf("02:42:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3]))
}

// timeWait is a connection's last state, field st of /proc/net/tcp.
const timeWait = "06"

func socket(f []string) string {
	if len(f) < 4 || f[3] == timeWait {
		return ""
	}
	return strings.Join(f[1:4], " ")
}

// route6 is destination, source and gateway of a route that is not the link's own.
func route6(f []string) string {
	if strings.HasPrefix(f[0], "fe80") || strings.HasPrefix(f[0], "ff00") {
		return ""
	}
	return strings.Join(f[:min(5, len(f))], " ")
}

func whole(f []string) string { return strings.Join(f, " ") }

// abstract is the name of a socket that no file system holds.
func abstract(f []string) string {
	if name := f[len(f)-1]; strings.HasPrefix(name, "@") {
		return name
	}
	return ""
}
