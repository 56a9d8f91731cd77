package nixopt_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/nixopt"
)

func TestLines(t *testing.T) {
	t.Parallel()
	got := nixopt.Lines("# all\n\n  experimental-features = nix-command flakes # both\r\nfallback=true\n\t#\n")
	if diff := cmp.Diff([]string{"experimental-features = nix-command flakes", "fallback=true"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestLine(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"fallback = true": "", "fallback=true": "", "extra-experimental-features = flakes": "", "http-connections\t=": "", "trusted-substituters = https://x": "",
		"trusted-users = *": "must not set trusted-users: nobody", "extra-trusted-users = root": "must not set extra-trusted-users", "require-sigs=false": "must not set require-sigs",
		"sandbox = false": "use sandbox", "extra-sandbox-paths = /bin": "use sandbox", "build-use-chroot = 0": "use sandbox", "binary-caches = x": "use substituters",
		"max-jobs = 9": "use max_jobs", "min-free = 1": "decides what is kept", "post-build-hook = /x": "out of the sandbox", "secret-key-files = /k": "secrets",
		"include /etc/x": "other files", "!include /etc/x": "other files", "fallback": "not of the form", "Fallback = 1": "not of the form", "a = b\x00": "not of the form", "= x": "not of the form",
	} {
		err := nixopt.Line(line)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", line, err, want)
		}
	}
}

func TestAddress(t *testing.T) {
	t.Parallel()
	for address, good := range map[string]bool{
		"https://cache.nixos.org": true, "file:///srv/cache?priority=10": true, "https://user:secret@host/x": true, "file://": false, "https://": false, "cache.nixos.org": false, "ssh://host": false,
		"https://host/a b": false, "https://host/#x": false, "https://host\nrequire-sigs = false": false, "": false,
	} {
		err := nixopt.Address(address, "https", "file")
		if (err == nil) != good {
			t.Errorf("%q: %v", address, err)
		}
	}
	if err := nixopt.Address("ftp://user:secret@host", "https"); err == nil || strings.Contains(err.Error(), "secret") {
		t.Error(err)
	}
}

func TestPublicKey(t *testing.T) {
	t.Parallel()
	secret := "a-1:" + strings.Repeat("A", 86) + "=="
	for key, want := range map[string]string{
		"cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY=": "", "a:" + strings.Repeat("A", 43) + "=": "", "a": "public key", ":" + strings.Repeat("A", 43) + "=": "public key",
		"a:AAAA": "public key", "a b:" + strings.Repeat("A", 43) + "=": "public key", secret: "is a secret key",
	} {
		err := nixopt.PublicKey(key)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", key, err, want)
		}
	}
	if err := nixopt.PublicKey(secret); err == nil || strings.Contains(err.Error(), "AAAA") {
		t.Errorf("the secret is shown: %v", err)
	}
}
