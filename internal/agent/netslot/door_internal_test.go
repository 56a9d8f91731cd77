package netslot

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// knock connects to a door that may not be open yet.
func knock(t *testing.T, dir string) net.Conn {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		var d net.Dialer
		conn, err := d.DialContext(t.Context(), "unix", filepath.Join(dir, DoorSock))
		if err == nil {
			return conn
		}
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatal(err)
		}
	}
}

func TestDoor(t *testing.T) {
	t.Parallel()
	dir, state := t.TempDir(), t.TempDir()
	birth, hosts := filepath.Join(state, "birth.json"), filepath.Join(state, "hosts")
	if err := os.WriteFile(hosts, []byte("127.0.0.1\tlocalhost\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := remember(birth, hosts); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	over := make(chan error, 1)
	// What an earlier process of the container has left is replaced.
	if err := os.WriteFile(filepath.Join(dir, DoorSock), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	go func() { over <- openDoor(ctx, dir, birth, hosts) }()

	if out, err := Call(t.Context(), knock(t, dir), CommandUp, &Ask{Hosts: []string{"10.0.0.2\tdb"}}); err != nil || !json.Valid(out) {
		t.Errorf("up: %s, %v", out, err)
	}
	if names, err := os.ReadFile(hosts); err != nil || !strings.Contains(string(names), "db") {
		t.Errorf("the names are %q, %v", names, err)
	}
	var changes []string
	if out, err := Call(t.Context(), knock(t, dir), CommandLook, nil); err != nil || json.Unmarshal(out, &changes) != nil {
		t.Errorf("look: %s, %v", out, err)
	}
	if _, err := Call(t.Context(), knock(t, dir), "leave", nil); err == nil || !strings.Contains(err.Error(), "leave") {
		t.Errorf("what it does not know: %v", err)
	}
	silent := knock(t, dir)
	defer silent.Close()
	garbage := knock(t, dir)
	if _, err := garbage.Write([]byte("{]\n")); err != nil {
		t.Fatal(err)
	}
	if n, err := garbage.Read(make([]byte, 1)); err == nil {
		t.Errorf("garbage is answered, %d bytes", n)
	}
	stop()
	if err := <-over; err != nil {
		t.Error(err)
	}
}

// A door that is not there, or cannot be opened, ends nobody's network.
func TestNoDoor(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]string{filepath.Join(t.TempDir(), "none"): "", file: "open the network's door"} {
		ctx, stop := context.WithCancel(t.Context())
		said, written := io.Pipe()
		over := make(chan struct{})
		go func() {
			defer close(over)
			wait(ctx, dir, "", "", written)
			_ = written.Close()
		}()
		if want != "" {
			word := make([]byte, len(want))
			if _, err := io.ReadFull(said, word); err != nil || string(word) != want {
				t.Errorf("it says %q, %v, want %q", word, err, want)
			}
			go func() { _, _ = io.Copy(io.Discard, said) }()
		}
		select {
		case <-over:
			t.Error("it has ended")
		default:
		}
		stop()
		<-over
	}
}
