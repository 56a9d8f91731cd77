// Package engineapi is what the container executor asks of a container engine: Docker from 20.10 and
// Podman from 4.3, rootful and rootless, through Docker's API. Every making is idempotent by name, every
// removal by absence, so that a runner which does not know whether its request arrived sends it again.
package engineapi

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
)

// Address is how an engine is reached.
type Address struct {
	Host string `json:"host"` // "unix:///run/podman/podman.sock", "tcp://…"
	// CertPath is a directory with ca.pem, cert.pem and key.pem; empty for a connection without TLS.
	CertPath string `json:"cert_path,omitempty"`
	// Verify checks the engine's certificate against ca.pem. Without it any is accepted.
	Verify bool `json:"verify,omitempty"`
}

// Kind is the program behind the API.
type Kind string

// The kinds. Docker stands for everything that is not Podman.
const (
	Docker Kind = "docker"
	Podman Kind = "podman"
)

// Engine is a connection to one engine. It is safe for concurrent use.
type Engine struct {
	c *client.Client
	d *dialer

	Address  Address
	Kind     Kind
	Version  string // of the engine: "4.3.1"
	API      string // the version of the API that is spoken: "1.41"
	Arch     string // of its kernel, as Go names it: "amd64"
	Rootless bool
	AppArmor bool // containers have a profile of AppArmor unless their options say otherwise
	// Seccomp is the profile of containers for which none is named: SeccompBuiltin, or as whoever set it up called another one;
	// empty: the engine confines no calls of the kernel.
	Seccomp string
	Slices  bool // systemd manages the control groups of containers: the name of what they are below ends in ".slice"

	calls    atomic.Int64
	ids      atomic.Pointer[[2]int]
	stuck    atomic.Bool // a request was not answered; until another one is
	together together
}

// Connect reaches the engine and asks what it is. The caller closes it. An engine that is not there is
// waited for a little, here and by every later request; where revive is not nil it is called to start it. The
// error is *UnreachableError when there is none.
func Connect(ctx context.Context, a Address, revive func(context.Context) error) (*Engine, error) {
	d, err := newDialer(a, revive)
	if err != nil {
		return nil, err
	}
	c, err := client.New(client.WithHost(a.Host), client.WithHTTPClient(&http.Client{Transport: d.transport(), CheckRedirect: client.CheckRedirect}))
	if err != nil {
		return nil, fmt.Errorf("the container engine at %s: %w", a.Host, err)
	}
	e := &Engine{c: c, d: d, Address: a, Kind: Docker}
	limited, cancel := context.WithTimeout(ctx, identifyTime)
	defer cancel()
	if err := e.again(limited, e.identify); err != nil {
		_ = c.Close()
		if limited.Err() != nil && ctx.Err() == nil {
			return nil, &UnreachableError{Host: a.Host, why: fmt.Sprintf("it does not answer within %s", identifyTime)}
		}
		return nil, explain(a, err)
	}
	return e, nil
}

// identifyTime bounds how long an engine may take to say what it is, the wait for it included.
const identifyTime = patience + 15*time.Second

// Ping asks the engine for a sign of life, without the patience of other requests. It returns at once
// when there has been one within fresh. An engine that has left a request unanswered has to answer one: a Podman
// whose threads wait for each other still answers pings.
func Ping(ctx context.Context, a Address, fresh time.Duration, e *Engine) error {
	if e != nil && e.stuck.Load() {
		if _, err := e.c.ContainerList(ctx, client.ContainerListOptions{All: true}); err != nil {
			return &UnreachableError{Host: a.Host, why: "it takes requests and does not answer them; a Podman before 4.8 may have locked up: restart its service"}
		}
		e.stuck.Store(false)
		return nil
	}
	if e != nil && time.Since(time.Unix(0, e.d.contact.Load())) < fresh {
		return nil
	}
	d, err := newDialer(a, nil)
	if err != nil {
		return err
	}
	conn, err := d.once(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return &UnreachableError{Host: a.Host, why: "it does not answer"}
		}
		return unreachable(a, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://engine/_ping", nil)
	if err != nil {
		return err
	}
	req.Close = true
	if err = req.Write(conn); err == nil {
		var res *http.Response
		if res, err = http.ReadResponse(bufio.NewReader(conn), req); err == nil {
			_ = res.Body.Close()
		}
	}
	if err != nil {
		return &UnreachableError{Host: a.Host, why: "it does not answer"}
	}
	if e != nil {
		e.d.contact.Store(time.Now().UnixNano())
	}
	return nil
}

func (e *Engine) identify(ctx context.Context) error {
	if _, err := e.c.Ping(ctx, client.PingOptions{NegotiateAPIVersion: true}); err != nil {
		return err
	}
	v, err := e.c.ServerVersion(ctx, client.ServerVersionOptions{})
	if err != nil {
		return err
	}
	e.Version, e.Arch, e.API = v.Version, v.Arch, e.c.ClientVersion()
	for _, part := range v.Components {
		if strings.Contains(part.Name, "Podman") {
			e.Kind = Podman
		}
	}
	return e.askSecurity(ctx)
}

// String names the engine for people: "podman 4.3.1 (rootless) at unix:///run/user/1000/podman/podman.sock".
func (e *Engine) String() string {
	rootless := ""
	if e.Rootless {
		rootless = " (rootless)"
	}
	return fmt.Sprintf("%s %s%s at %s", e.Kind, e.Version, rootless, e.Address.Host)
}

// Calls is how many requests have been made so far.
func (e *Engine) Calls() int64 { return e.calls.Load() }

// Close closes the connections.
func (e *Engine) Close() error { return e.c.Close() }

// absent reports that the engine does not know what was asked for.
func absent(err error) bool {
	return errdefs.IsNotFound(err)
}

// taken reports that a name is in use.
func taken(err error) bool {
	return err != nil && (errdefs.IsConflict(err) || strings.Contains(err.Error(), "already in use") || strings.Contains(err.Error(), "already exists"))
}

// IsAbsent reports whether err says that a container, image, network or volume does not exist.
func IsAbsent(err error) bool { return absent(err) }

// State is what a container is doing.
type State struct {
	ID        string
	Running   bool
	Created   bool // and never started
	Removing  bool // somebody has it removed
	Ended     time.Time
	Unseen    bool // it ended when the engine was not there to see how: with the machine, or with a container that both were in
	ExitCode  int
	OOMKilled bool
	Error     string // of the engine, when it could not be started
	Memory    int64  // the limit in bytes; 0 none
	IP        string // on the first of its networks that has one
	Labels    map[string]string
}

// State looks at a container; IsAbsent tells that there is none.
func (e *Engine) State(ctx context.Context, name string) (State, error) {
	var r client.ContainerInspectResult
	err := e.again(ctx, func(ctx context.Context) (err error) {
		r, err = e.c.ContainerInspect(ctx, name, client.ContainerInspectOptions{})
		return err
	})
	if err != nil {
		return State{}, fmt.Errorf("inspect container %s: %w", name, err)
	}
	c := r.Container
	s := State{ID: c.ID}
	if c.HostConfig != nil {
		s.Memory = c.HostConfig.Memory
	}
	if c.Config != nil {
		s.Labels = c.Config.Labels
	}
	if c.NetworkSettings != nil {
		for _, n := range c.NetworkSettings.Networks {
			if s.IP == "" && n != nil && n.IPAddress.IsValid() {
				s.IP = n.IPAddress.String()
			}
		}
	}
	if c.State != nil {
		s.Running, s.ExitCode, s.OOMKilled, s.Error = c.State.Running, c.State.ExitCode, c.State.OOMKilled, c.State.Error
		s.Created = c.State.Status == container.StateCreated || c.State.Status == "configured"
		s.Removing = c.State.Status == container.StateRemoving
		s.Ended, _ = time.Parse(time.RFC3339Nano, c.State.FinishedAt) // what has not ended has none
		s.Unseen = c.State.Status == container.StateExited && s.Ended.IsZero()
	}
	return s, nil
}

var errNoName = errors.New("a container needs a name")
