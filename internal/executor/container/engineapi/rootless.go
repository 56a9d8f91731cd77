package engineapi

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
)

// maxInfo bounds what Podman says of itself.
const maxInfo = 1 << 20

// askRootless asks Podman whether it has an ordinary user's rights alone: it says so in a field of its own.
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
	var info struct{ Rootless bool }
	if err := json.NewDecoder(io.LimitReader(res.Body, maxInfo)).Decode(&info); err != nil {
		return false, fmt.Errorf("read the engine's rights: %w", err)
	}
	return info.Rootless, nil
}
