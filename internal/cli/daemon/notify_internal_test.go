package daemon

import (
	"context"
	"net"
	"path/filepath"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/config"
)

// TestSystemdIsTold listens where systemd would.
func TestSystemdIsTold(t *testing.T) {
	b := newBench(t, "")
	path := filepath.Join(t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "400000") // a socket keeps few messages that nobody has read yet, and more are lost
	expect := func(want string) {
		t.Helper()
		if err := socket.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		for {
			message := make([]byte, 256)
			n, err := socket.Read(message)
			if err != nil {
				t.Fatalf("waiting for %s: %v\n%s", want, err, b.log)
			}
			if got := string(message[:n]); got == want {
				return
			} else if got != "WATCHDOG=1" {
				t.Fatalf("got %s, want %s", got, want)
			}
		}
	}
	c, err := config.Load(b.path, config.Options{Executors: Executors()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- b.Serve(ctx, Service{Config: c}) }()
	expect("READY=1")
	expect("WATCHDOG=1")
	expect("WATCHDOG=1")
	stop()
	expect("STOPPING=1")
	if err := <-served; err != nil {
		t.Error(err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}
