package gateway_test

import (
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/nixstore/gateway"
	"gitlab.com/skerry/skerry/internal/nixstore/nixwire"
)

// TestNothingLeft storms a gateway with clients that stop wherever they please. Neither descriptors nor goroutines are
// left of them. It is not parallel: it counts those of the process.
func TestNothingLeft(t *testing.T) { //nolint:paralleltest // see above
	p := storePath("0", "p")
	d := newDaemon(t, &daemon{quiet: true, answer: func(c call) reply { return reply{listen: c.op == nixwire.BuildPaths} }}, p)
	_, socket := newGateway(t, gateway.Config{Upstream: d.socket, MaxConns: 8, Handshake: 50 * time.Millisecond, Wait: 50 * time.Millisecond})
	count := func() (fds, goroutines int) {
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(list), runtime.NumGoroutine()
	}
	fds, goroutines := count()
	var conversation []byte
	for _, n := range []uint64{nixwire.MagicClient, 1<<8 | 35, 0, 0, uint64(nixwire.IsValidPath)} {
		conversation = append(conversation, byte(n), byte(n>>8), byte(n>>16), byte(n>>24), 0, 0, 0, 0)
	}
	conversation = append(conversation, words(p)...)
	conversation = append(append(conversation, byte(nixwire.BuildPaths), 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0), words(p)...)
	conversation = append(conversation, 0, 0, 0, 0, 0, 0, 0, 0)
	var open []net.Conn
	for n := range 300 {
		c, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c.Write(conversation[:n*7%(len(conversation)+1)]) // it may have been turned away
		if n%3 == 0 {
			_ = c.Close()
		} else {
			open = append(open, c)
		}
		if len(open) > 20 {
			_ = open[0].Close()
			open = open[1:]
		}
	}
	for _, c := range open {
		_ = c.Close()
	}
	eventually(t, "the turn of one who comes last", func() bool {
		c, err := connect(t, socket, 38)
		if err != nil {
			return false
		}
		return c.conn.Close() == nil
	})
	eventually(t, "the end of all that was made for clients", func() bool {
		f, g := count()
		return f <= fds && g <= goroutines && d.open() == 0
	})
}
