package engineapi

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
)

// maxInfo bounds what Podman says of itself.
const maxInfo = 1 << 20

// SeccompBuiltin is the seccomp profile that a Docker engine is built with, as it calls it itself from version 23.
const SeccompBuiltin = "builtin"

// askSecurity asks the engine what confines its containers and who manages their control groups, and whether it has an ordinary user's rights alone: Docker says so among
// its security options, Podman also in a field of its own, which the client does not know. It is asked once, as Podman looks up the
// packages of its programs each time.
func (e *Engine) askSecurity(ctx context.Context) error {
	dial := e.c.Dialer()
	t := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) }}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://engine/v"+e.c.ClientVersion()+"/info", nil)
	if err != nil {
		return fmt.Errorf("ask for the engine's rights: %w", err)
	}
	res, err := t.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("ask for the engine's rights: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("ask for the engine's rights: it answers %s", res.Status)
	}
	var info struct {
		Rootless        bool
		SecurityOptions []string
		CgroupDriver    string
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, maxInfo)).Decode(&info); err != nil {
		return fmt.Errorf("read the engine's rights: %w", err)
	}
	e.Rootless, e.Slices = info.Rootless, info.CgroupDriver == "systemd"
	for _, o := range info.SecurityOptions {
		e.secured(o)
	}
	return nil
}

// secured takes up one security option: "name=seccomp,profile=builtin". Source: moby daemon/info.go, fillSecurityOptions.
func (e *Engine) secured(option string) {
	with := map[string]string{}
	for pair := range strings.SplitSeq(option, ",") {
		key, value, _ := strings.Cut(pair, "=")
		with[key] = value
	}
	switch with["name"] {
	case "rootless":
		e.Rootless = true
	case "apparmor":
		e.AppArmor = true
	case "seccomp":
		if e.Seccomp = with["profile"]; e.Seccomp == "default" { // what Docker calls it before version 23
			e.Seccomp = SeccompBuiltin
		}
	}
}
