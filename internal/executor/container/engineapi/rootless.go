package engineapi

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
)

// maxInfo bounds what Podman says of itself.
const maxInfo = 1 << 20

// askRootless asks the engine whether it has an ordinary user's rights alone: Docker says so among its security options, Podman also
// in a field of its own, which the client does not know. It is asked once, as Podman looks up the packages of its programs each time.
func (e *Engine) askRootless(ctx context.Context) (bool, error) {
	dial := e.c.Dialer()
	t := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) }}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://engine/v"+e.c.ClientVersion()+"/info", nil)
	if err != nil {
		return false, fmt.Errorf("ask for the engine's rights: %w", err)
	}
	res, err := t.RoundTrip(req)
	if err != nil {
		return false, fmt.Errorf("ask for the engine's rights: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return false, fmt.Errorf("ask for the engine's rights: it answers %s", res.Status)
	}
	var info struct {
		Rootless        bool
		SecurityOptions []string
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, maxInfo)).Decode(&info); err != nil {
		return false, fmt.Errorf("read the engine's rights: %w", err)
	}
	return info.Rootless || slices.ContainsFunc(info.SecurityOptions, func(o string) bool { return strings.Contains(o, "name=rootless") }), nil
}
