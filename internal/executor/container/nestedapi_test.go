package container_test

import (
	"context"
	"net"
	"path/filepath"
	"testing"
	"time"

	apicontainer "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/sockdir"
)

// nestedAPI is a job's own engine by Docker's API.
type nestedAPI struct {
	t   *testing.T
	api *client.Client
}

// start starts a container of the image box in the network tests.
func (n nestedAPI) start(name string, c apicontainer.Config, h apicontainer.HostConfig) {
	n.t.Helper()
	c.Image, h.NetworkMode = "box", "tests"
	o := client.ContainerCreateOptions{Name: name, Config: &c, HostConfig: &h, NetworkingConfig: &network.NetworkingConfig{
		EndpointsConfig: map[string]*network.EndpointSettings{"tests": {Aliases: []string{"alias-of-" + name}}},
	}}
	if _, err := n.api.ContainerCreate(n.t.Context(), o); err != nil {
		n.t.Fatal(err)
	}
	if _, err := n.api.ContainerStart(n.t.Context(), name, client.ContainerStartOptions{}); err != nil {
		n.t.Fatal(err)
	}
}

// healthy waits for a container's health check, and says which port of the job's network it has.
func (n nestedAPI) healthy(name string, port network.Port) string {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), patience)
	defer cancel()
	for every := time.NewTicker(50 * time.Millisecond); ; {
		s, err := n.api.ContainerInspect(ctx, name, client.ContainerInspectOptions{})
		if err != nil {
			n.t.Fatalf("%s did not become healthy: %v", name, err)
		}
		if h := s.Container.State.Health; h != nil && h.Status == apicontainer.Healthy {
			every.Stop()
			if at := s.Container.NetworkSettings.Ports[port]; len(at) > 0 {
				return at[0].HostPort
			}
			n.t.Fatalf("%s has no port", name)
		}
		select {
		case <-every.C:
		case <-ctx.Done():
		}
	}
}

// testNestedAPI does by Docker's API what libraries for tests with containers do: a network, a container with a health check and a
// port that the engine chooses, and another that has the engine itself, to clear up.
func testNestedAPI(t *testing.T, b *bench, r *run) {
	t.Helper()
	api, err := client.New(client.WithHost("unix:///nested"), client.WithDialContext(func(ctx context.Context, _, _ string) (net.Conn, error) {
		return sockdir.Dial(ctx, filepath.Join(b.o.Dir, r.ref.ID, "nested"), "podman.sock")
	}))
	if err != nil {
		t.Fatal(err)
	}
	defer api.Close()
	if _, err := api.NetworkCreate(t.Context(), "tests", client.NetworkCreateOptions{}); err != nil {
		t.Fatal(err)
	}
	n, port := nestedAPI{t: t, api: api}, network.MustParsePort("80/tcp")
	fetch := []string{"busybox", "wget", "-q", "-O", "/dev/null", "http://localhost/busybox"}
	n.start("db", apicontainer.Config{
		Cmd: []string{"busybox", "httpd", "-f", "-p", "80", "-h", "/bin"}, ExposedPorts: network.PortSet{port: {}},
		Healthcheck: &apicontainer.HealthConfig{Test: append([]string{"CMD"}, fetch...), Interval: time.Second, Timeout: 30 * time.Second, Retries: 60},
	}, apicontainer.HostConfig{PortBindings: network.PortMap{port: {{}}}})
	at := n.healthy("db", port)
	if got := r.script(executor.Build, `busybox wget -q -O /dev/null http://docker:`+at+`/busybox && echo reached`); got != "reached" {
		t.Errorf("the port %s: %q", at, got)
	}
	n.start("reaper", apicontainer.Config{Env: []string{"HOME=/"}, Cmd: []string{"/bin/sh", "-c", "/bin/busybox ln -s /usr/lib64 /lib64 && " +
		"until /bin/busybox wget -q -O /dev/null http://alias-of-db/busybox 2>/dev/null; do /bin/busybox sleep 0.1; done && " + // the name server may not know the one who asks yet

		"/usr/bin/podman --url unix:///var/run/docker.sock rm -f -t 0 db"}}, apicontainer.HostConfig{Binds: []string{"/var/run/docker.sock:/var/run/docker.sock", "/usr:/usr:ro"}})
	if got := r.script(executor.Build, `podman --remote wait reaper; podman --remote logs reaper; podman --remote rm -f reaper; podman --remote ps -a --format '{{.Names}}'`); got != "0\ndb\nreaper\nweb" {
		t.Errorf("the reaper: %q", got)
	}
}
