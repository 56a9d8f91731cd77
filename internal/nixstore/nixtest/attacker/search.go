package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"gitlab.com/skerry/skerry/internal/nixstore/nixwire"
)

// theGateway is the socket that jobs are meant to have.
const theGateway = "/nix/var/nix/daemon-socket/socket"

// search prints "found WHAT WHERE" for what speaks like a Nix daemon beside the gateway's socket, and for directories
// that helpers and daemons alone should see.
func search() error {
	f := finder{seen: map[[2]uint64]bool{}}
	if i, err := os.Stat(theGateway); err == nil {
		f.first(i)
	}
	roots := []string{"/"}
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return err
	}
	for _, p := range processes {
		roots = append(roots, p+"/root/", p+"/cwd/")
		links, _ := filepath.Glob(p + "/fd/*") // not everybody's can be seen
		roots = append(roots, links...)
	}
	for _, r := range roots {
		f.walk(r)
	}
	f.abstract()
	f.ports()
	say("looked at", f.sockets, "sockets,", f.listening, "ports,", len(f.seen), "files")
	return nil
}

// finder is a search at work.
type finder struct {
	seen               map[[2]uint64]bool // files, by device and inode
	sockets, listening int
}

// first reports whether a file has not been seen.
func (f *finder) first(i fs.FileInfo) bool {
	st, ok := i.Sys().(*syscall.Stat_t)
	if !ok {
		return false
	}
	id := [2]uint64{st.Dev, st.Ino}
	if f.seen[id] {
		return false
	}
	f.seen[id] = true
	return true
}

func (f *finder) walk(dir string) {
	i, err := os.Stat(dir)
	if err != nil {
		return
	}
	if !i.IsDir() {
		f.file(dir, i)
		return
	}
	if !f.first(i) {
		return
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		i, err := os.Lstat(path)
		if err != nil {
			continue
		}
		switch {
		case i.IsDir() && hidden(path):
			say("found directory", path)
		case i.IsDir() && !uninteresting(path):
			f.walk(path)
		case !i.IsDir():
			f.file(path, i)
		}
	}
}

// hidden are directories of the gate volume and of daemons.
func hidden(path string) bool {
	return strings.HasSuffix(path, "/gcroots/skerry") || strings.HasSuffix(path, "/.skerry/nix") || strings.HasSuffix(path, "/nix/var/nix/db")
}

func uninteresting(path string) bool {
	for _, p := range []string{"/proc", "/sys", "/nix/store"} {
		if path == p || strings.HasSuffix(path, "/root"+p) {
			return true
		}
	}
	return false
}

func (f *finder) file(path string, i fs.FileInfo) {
	if i.Mode()&fs.ModeSocket == 0 || !f.first(i) {
		return
	}
	f.sockets++
	if speaks("unix", path) {
		say("found socket", path)
	}
}

// abstract tries the sockets without a file in this network namespace.
func (f *finder) abstract() {
	for _, fields := range lines("/proc/net/unix") {
		name := fields[len(fields)-1]
		if len(fields) < 8 {
			continue
		}
		f.sockets++
		if speaks("unix", name) && name != theGateway {
			say("found socket", name)
		}
	}
}

// ports tries the ports that are listened at in this network namespace.
func (f *finder) ports() {
	for _, file := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		for _, fields := range lines(file) {
			if len(fields) < 4 || fields[3] != "0A" {
				continue
			}
			host, port, _ := strings.Cut(fields[1], ":")
			n, err := strconv.ParseUint(port, 16, 16)
			raw, err2 := hex.DecodeString(host)
			if err != nil || err2 != nil {
				continue
			}
			for part := range slices.Chunk(raw, 4) { // words of this machine's order
				slices.Reverse(part)
			}
			f.listening++
			if a := net.JoinHostPort(net.IP(raw).String(), strconv.FormatUint(n, 10)); speaks("tcp", a) {
				say("found port", a)
			}
		}
	}
}

// lines are the fields of a table in /proc without its head.
func lines(path string) [][]string {
	file, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer file.Close()
	var all [][]string
	s := bufio.NewScanner(file)
	for s.Scan() {
		if fields := strings.Fields(s.Text()); len(fields) > 0 {
			all = append(all, fields)
		}
	}
	return all[min(1, len(all)):]
}

// speaks reports whether something answers like a Nix daemon.
func speaks(network, address string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	c, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return false
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Second))
	_, err = nixwire.Greet(nixwire.NewReader(c, 64), nixwire.NewWriter(c, 64))
	return err == nil
}
