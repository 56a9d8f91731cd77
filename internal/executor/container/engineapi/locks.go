package engineapi

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
)

// Locks is what Podman has of locks, of which each container, pod and volume takes one for as long as it is there.
type Locks struct {
	Free    int // -1: it does not tell, as 4.3 does not
	Taken   int // by what there is; locks of what was lost are not among them
	Running bool
}

// maxList bounds what Podman lists.
const maxList = 64 << 20

// Locks asks Podman for them. Docker has none.
func (e *Engine) Locks(ctx context.Context) (Locks, error) {
	l := Locks{Free: -1}
	var info struct {
		Host struct{ FreeLocks *int }
	}
	var containers []struct{ State string }
	var volumes, pods []struct{}
	for path, into := range map[string]any{"info": &info, "containers/json?all=true": &containers, "volumes/json": &volumes, "pods/json": &pods} {
		if err := e.askPodman(ctx, path, into); err != nil {
			return l, fmt.Errorf("ask for the engine's locks: %w", err)
		}
	}
	if info.Host.FreeLocks != nil {
		l.Free = *info.Host.FreeLocks
	}
	l.Taken = len(containers) + len(volumes) + len(pods)
	for _, c := range containers {
		l.Running = l.Running || c.State == "running"
	}
	return l, nil
}

// askPodman asks for what only Podman's own API has.
func (e *Engine) askPodman(ctx context.Context, path string, into any) error {
	dial := e.c.Dialer()
	t := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) }}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://engine/v4.0.0/libpod/"+path, nil)
	if err != nil {
		return err
	}
	res, err := t.RoundTrip(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("it answers %s", res.Status)
	}
	return json.NewDecoder(io.LimitReader(res.Body, maxList)).Decode(into)
}
