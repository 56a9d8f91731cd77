package netslot

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// Ask is what Up is to do.
type Ask struct {
	Hosts   []string      `json:"hosts"` // lines for /etc/hosts
	Reach   []Target      `json:"reach"`
	Timeout time.Duration `json:"timeout"` // for all targets together
}

// Target is a service, up when any of its ports accepts a connection.
type Target struct {
	Name    string     `json:"name"`
	Address netip.Addr `json:"address"`
	Ports   []uint16   `json:"ports"`
}

// Answer names the targets that did not answer in time, with why.
type Answer struct {
	Hosts  string            `json:"hosts,omitempty"` // why the names could not be written
	Failed map[string]string `json:"failed,omitempty"`
}

func up(ctx context.Context, ask Ask, hosts string) Answer {
	var a Answer
	if err := addHosts(hosts, ask.Hosts); err != nil {
		a.Hosts = err.Error()
	}
	ctx, cancel := context.WithTimeout(ctx, ask.Timeout)
	defer cancel()
	var mu sync.Mutex
	var all sync.WaitGroup
	for _, t := range ask.Reach {
		all.Go(func() {
			if err := anyPort(ctx, t); err != nil {
				mu.Lock()
				defer mu.Unlock()
				if a.Failed == nil {
					a.Failed = map[string]string{}
				}
				a.Failed[t.Name] = err.Error()
			}
		})
	}
	all.Wait()
	return a
}

// anyPort returns nil as soon as one of the target's ports accepts a connection.
func anyPort(ctx context.Context, t Target) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ends := make(chan error, len(t.Ports))
	for _, port := range t.Ports {
		go func() { ends <- reach(ctx, netip.AddrPortFrom(t.Address, port)) }()
	}
	var errs []error
	for range t.Ports {
		err := <-ends
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// reach connects again and again until it is accepted.
func reach(ctx context.Context, to netip.AddrPort) error {
	var last error
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, 200*time.Millisecond) {
		d := net.Dialer{Timeout: time.Second}
		conn, err := d.DialContext(ctx, "tcp", to.String())
		if err == nil {
			return conn.Close()
		}
		if ctx.Err() == nil || last == nil {
			last = err
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return last
		}
	}
}

// addHosts adds lines to a hosts file that is mounted, so it cannot be replaced.
func addHosts(path string, lines []string) error {
	if len(lines) == 0 {
		return nil
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("name the services: %w", err)
	}
	have := strings.Split(string(raw), "\n")
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return fmt.Errorf("name the services: %w", err)
	}
	var text strings.Builder
	if len(raw) > 0 && raw[len(raw)-1] != '\n' {
		text.WriteByte('\n')
	}
	for _, line := range lines {
		if !slices.Contains(have, line) {
			text.WriteString(line + "\n")
		}
	}
	_, err = f.WriteString(text.String())
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("name the services: %w", err)
	}
	return nil
}
