package gitlabtest_test

import (
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
)

// TestPortIsKept has somebody else want the port of a coordinator, be it up, down, or up again: its runners come to it or
// to nobody.
func TestPortIsKept(t *testing.T) {
	t.Parallel()
	for _, listen := range []string{"127.0.0.1:0", "[::1]:0", ":0"} {
		t.Run(listen, func(t *testing.T) {
			t.Parallel()
			if l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", listen); err != nil {
				t.Skipf("this machine has no such address: %v", err)
			} else {
				l.Close()
			}
			c := gitlabtest.Start(t, gitlabtest.Options{Listen: listen})
			at := strings.TrimPrefix(c.URL(), "http://")
			wanted := func(when string) {
				t.Helper()
				if l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", at); !errors.Is(err, syscall.EADDRINUSE) {
					t.Errorf("%s, another gets %s: %v", when, at, err)
					if err == nil {
						l.Close()
					}
				}
			}
			for range 2 {
				wanted("while it is up")
				conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", at)
				if err != nil {
					t.Fatal(err)
				}
				conn.Close()
				c.Down()
				wanted("while it is down")
				if conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", at); !errors.Is(err, syscall.ECONNREFUSED) {
					t.Errorf("while it is down, a connection: %v", err)
					if err == nil {
						conn.Close()
					}
				}
				if err := c.Up(); err != nil {
					t.Fatal(err)
				}
			}
			c.Close()
			for until := time.Now().Add(time.Minute); ; { // a process that is just being started has the port until it executes its program
				l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", at)
				if err == nil {
					l.Close()
					return
				}
				if !errors.Is(err, syscall.EADDRINUSE) || time.Now().After(until) {
					t.Fatalf("once it is closed: %v", err)
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
}
