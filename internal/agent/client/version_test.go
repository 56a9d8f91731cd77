package client_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"testing"

	"gitlab.com/skerry/skerry/internal/agent/client"
	"gitlab.com/skerry/skerry/internal/agent/wire"
)

// dialAgent serves an agent that says hello with this protocol, and returns the way to it.
func dialAgent(t *testing.T, protocol int) func(context.Context) (net.Conn, error) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", filepath.Join(t.TempDir(), "sock"))
	if err != nil {
		t.Fatal(err)
	}
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	srv := &http.Server{Protocols: protocols, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"protocol": %d}`, protocol)
	})}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	t.Cleanup(func() {
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
		<-served
	})
	return func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", l.Addr().String())
	}
}

func TestHelloRefusesAgentsOfOtherVersions(t *testing.T) {
	t.Parallel()
	for _, protocol := range []int{wire.Protocol, wire.Protocol + 1, wire.Protocol - 3, wire.Protocol + 100, 0} {
		t.Run(fmt.Sprint(protocol), func(t *testing.T) {
			t.Parallel()
			c := client.New(dialAgent(t, protocol), 1)
			defer c.Close()
			h, err := c.Hello(t.Context())
			var version *wire.VersionError
			if ok := protocol == wire.Protocol; ok != (err == nil) || !ok && !errors.As(err, &version) {
				t.Errorf("Hello: %v", err)
			}
			if h.Protocol != protocol {
				t.Errorf("Hello says protocol %d, the agent said %d", h.Protocol, protocol)
			}
		})
	}
}
