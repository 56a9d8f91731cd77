package daemon

import (
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gitlab.com/skerry/skerry/internal/config"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
	"gitlab.com/skerry/skerry/internal/executor/container/podman"
)

// TestEnginesStay keeps an engine that was found while another comes, until the configuration is read again.
func TestEnginesStay(t *testing.T) {
	t.Parallel()
	root, err := os.MkdirTemp("", "ske") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	e := &engines{
		finder: engineapi.Finder{Getenv: func(string) string { return "" }, Root: root},
		podman: &podman.Service{Dir: filepath.Join(root, "state"), Log: slog.New(slog.DiscardHandler)},
	}
	find := func() string {
		a, err := e.address(t.Context(), &config.Docker{})
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimPrefix(a.Host, "unix://"+root)
	}
	listen := func(path string) {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
	}
	if got := find(); got != "/state/podman.sock" {
		t.Errorf("%s, want one that is started", got)
	}
	listen("run/docker.sock")
	if got := find(); got != "/state/podman.sock" {
		t.Errorf("%s, want the first to stay", got)
	}
	e.forget()
	if got := find(); got != "/run/docker.sock" {
		t.Errorf("%s, want the one that is there now", got)
	}
	listen("run/podman/podman.sock")
	if got := find(); got != "/run/docker.sock" {
		t.Errorf("%s, want the first to stay", got)
	}
	if a, err := e.address(t.Context(), &config.Docker{Host: "ssh://x"}); err == nil {
		t.Errorf("ssh is not supported: %+v", a)
	}
	e.podman = nil
	e.finder.Root = filepath.Join(root, "empty")
	e.forget()
	if _, err := e.address(t.Context(), &config.Docker{}); err == nil || !strings.Contains(err.Error(), "set `host`") {
		t.Errorf("%v, want what to do", err)
	}
}
