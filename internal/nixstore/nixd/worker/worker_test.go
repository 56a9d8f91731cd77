package worker

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"path/filepath"
	"testing"
	"time"
)

// say makes what a daemon writes.
func say(values ...any) []byte {
	var b bytes.Buffer
	c := Conn{out: bufio.NewWriter(&b)}
	if err := c.send(values...); err != nil {
		panic(err) // a buffer takes all
	}
	return b.Bytes()
}

// answered is a connection on which a daemon has said all already.
func answered(minor uint64, said []byte) *Conn {
	return &Conn{minor: minor, in: bufio.NewReader(bytes.NewReader(said)), out: bufio.NewWriter(&bytes.Buffer{})}
}

const n = uint64(0)

func TestListen(t *testing.T) {
	t.Parallel()
	all := bytes.Join([][]byte{
		say(uint64(sayNext), "deleting"), say(uint64(sayStart), n, n, n, "text", uint64(2), n, uint64(7), uint64(1), "field", n),
		say(uint64(sayTell), n, n, uint64(1), n, n), say(uint64(sayStop), n),
	}, nil)
	if err := answered(35, append(all, say(uint64(sayLast))...)).listen(); err != nil {
		t.Error(err)
	}
	failed := append(bytes.Clone(all), say(uint64(sayError), "Error", n, "name", "it is alive", n, uint64(1), n, "trace")...)
	var refused RemoteError
	if err := answered(35, failed).listen(); !errors.As(err, &refused) || refused != "it is alive" {
		t.Error(err)
	}
	if err := answered(25, say(uint64(sayError), "it is alive", n)).listen(); !errors.As(err, &refused) || refused != "it is alive" {
		t.Error(err)
	}
	if err := answered(35, all).listen(); err == nil || errors.As(err, &refused) {
		t.Error(err)
	}
	if err := answered(35, say(uint64(5))).listen(); err == nil || errors.As(err, &refused) {
		t.Error(err)
	}
}

func TestTrusted(t *testing.T) {
	t.Parallel()
	for want, trust := range map[bool]uint64{true: 1, false: 2} {
		c := answered(35, nil)
		if c.trust = trust; c.trust != 0 {
			if got, err := c.Trusted(); got != want || err != nil {
				t.Error(got, err)
			}
		}
	}
	for name, test := range map[string]struct {
		said    []byte
		trusted bool
		failed  bool
	}{
		"refused": {said: say(uint64(sayError), "Error", n, "", "you are not privileged", n, n)}, "ends": {failed: true},
		"took it": {said: say(uint64(sayLast), uint64(1)), trusted: true},
	} {
		us, daemon := net.Pipe()
		go func() {
			_, _ = daemon.Read(make([]byte, 1024))
			_, _ = daemon.Write(test.said)
			_ = daemon.Close()
		}()
		c := &Conn{minor: 34, conn: us, in: bufio.NewReader(us), out: bufio.NewWriter(us)}
		if got, err := c.Trusted(); got != test.trusted || (err != nil) != test.failed {
			t.Errorf("%s: %t, %v", name, got, err)
		}
	}
}

func TestRemove(t *testing.T) {
	t.Parallel()
	c := answered(35, append(say(uint64(sayLast)), say([]string{"/nix/store/a", "/nix/store/b"}, uint64(42), n)...))
	if freed, err := c.Remove([]string{"/nix/store/a"}); freed != 42 || err != nil {
		t.Error(freed, err)
	}
}

// What answers is not a daemon, or an ancient one.
func TestDialRefuses(t *testing.T) {
	t.Parallel()
	for name, said := range map[string][]byte{
		"other": say(uint64(1), uint64(1)), "old": say(uint64(magicAnswer), uint64(1<<8|10)), "new": say(uint64(magicAnswer), uint64(2<<8|1)),
		"mute": nil, "huge": append(say(uint64(magicAnswer), uint64(1<<8|35)), binary.LittleEndian.AppendUint64(nil, 1<<63)...),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at := filepath.Join(t.TempDir(), "s")
			s, err := net.Listen("unix", at)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			go func() {
				conn, err := s.Accept()
				if err != nil {
					return
				}
				_, _ = conn.Write(said)
				if said != nil {
					_ = conn.Close()
				}
			}()
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			if c, err := Dial(ctx, at); err == nil {
				c.Close()
				t.Error("it is taken for a daemon")
			}
		})
	}
}

func FuzzConn(f *testing.F) {
	f.Add(uint64(35), append(say(uint64(sayLast)), say([]string{"/nix/store/a"}, uint64(42), n)...))
	f.Add(uint64(34), say(uint64(sayError), "Error", n, "", "no", n, n))
	f.Add(uint64(21), say(uint64(sayStart), n, n, n, "text", uint64(1)<<40))
	f.Fuzz(func(_ *testing.T, minor uint64, said []byte) {
		_, _ = answered(minor, said).Remove([]string{"a"})
		_, _ = answered(minor, said).Hold("a")
		_ = answered(minor, said).hello()
	})
}
