package peer_test

import (
	"os"
	"path/filepath"
	"testing"

	"gitlab.com/skerry/skerry/internal/cli/doctor/finding"
	"gitlab.com/skerry/skerry/internal/cli/doctor/peer"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
	"gitlab.com/skerry/skerry/internal/executor/container/enginetest"
	"gitlab.com/skerry/skerry/internal/nixstore/nixtest"
)

// TestNixHost has a real daemon that trusts everybody, one that is closed, and none, each mended by its own advice.
func TestNixHost(t *testing.T) {
	t.Parallel()
	const missing = "/nonexistent/socket"
	want(t, peer.NixHost(elsewhere(t), missing), finding.Failure, "there is no Nix daemon at "+missing, "install Nix")
	want(t, peer.NixHost(elsewhere(t, "nix-daemon"), missing), finding.Failure, "there is no Nix daemon", "setsid --fork nix-daemon && ")
	want(t, peer.NixHost(booted(t, elsewhere(t, "nix-daemon")), missing), finding.Failure, "there is no Nix daemon", "systemctl enable --now nix-daemon.socket")

	n := nixtest.New(t, "2.26")
	if err := os.Chmod(n.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	n.WriteFile(t, "etc/nix.conf", "trusted-users = *\nsandbox = false\nbuild-users-group =\n")
	stop := n.Daemon(t)
	check := peer.NixHost(elsewhere(t), n.Socket())
	got := want(t, check, finding.Failure, "the Nix daemon trusts ", "restart the daemon afterwards")
	want(t, peer.NixHost(booted(t, elsewhere(t)), n.Socket()), finding.Failure, "trusts", "systemctl restart nix-daemon.service")
	do(t, got, "/etc/nix/nix.conf", filepath.Join(n.Dir, "etc/nix.conf"))
	stop()
	n.Daemon(t)
	want(t, check, finding.Fine, "does not trust jobs", "")
	if err := os.Chmod(n.Socket(), 0o600); err != nil {
		t.Fatal(err)
	}
	got = want(t, check, finding.Failure, "is closed to jobs", "chmod 0666 "+n.Socket())
	do(t, got)
	want(t, check, finding.Fine, "does not trust jobs", "")
}

// TestNixImage asks for an image that the engine does not have, and then has.
func TestNixImage(t *testing.T) {
	t.Parallel()
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) {
		const image = "skerry.test/doctor-nix:latest"
		found := &peer.Engine{Machine: here(), Asked: e.Address, Finder: engineapi.Finder{Getenv: os.Getenv, Root: "/", UID: os.Getuid()}}
		t.Cleanup(found.Close)
		check := peer.NixImage(found, "skerry", image)
		want(t, check, finding.Skipped, "the engine could not be asked", "")
		want(t, found.Check(), finding.Fine, "", "")
		api := e.Connect(t)
		if err := api.DropImage(t.Context(), image); err != nil {
			t.Fatal(err)
		}
		want(t, check, finding.Failure, "the engine has no image "+image, "skerry image build nix-daemon --host "+e.Address.Host+" --from docker.io/nixos/nix")
		e.Load(t, enginetest.Image{Name: image, Labels: map[string]string{"for": "doctor"}})
		t.Cleanup(func() { _ = api.DropImage(t.Context(), image) })
		want(t, check, finding.Fine, "the engine has it", "")
	})
}
