package nixpush_test

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gitlab.com/skerry/skerry/internal/nixopt"
	"gitlab.com/skerry/skerry/internal/nixstore/nixd/worker"
	"gitlab.com/skerry/skerry/internal/nixstore/nixpush"
	"gitlab.com/skerry/skerry/internal/nixstore/nixtest"
)

// store is a real store that is pushed from.
type store struct{ *nixtest.Nix }

// Open implements nixpush.Source.
func (s store) Open(ctx context.Context, p nixpush.Path) (io.ReadCloser, error) {
	cmd := s.Command(ctx, nixtest.Direct(), "nix-store", "--dump", p.Path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	return process{out, cmd}, cmd.Start()
}

// process is a command whose output is read.
type process struct {
	io.ReadCloser

	cmd *exec.Cmd
}

func (p process) Close() error {
	err := p.ReadCloser.Close()
	_ = p.cmd.Wait() // it may have been interrupted
	return err
}

// closure describes a path of the store and all below it.
func (s store) closure(t *testing.T, top string) []nixpush.Path {
	t.Helper()
	w, err := worker.Dial(t.Context(), s.Socket())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	var all []nixpush.Path
	for _, p := range strings.Fields(s.Must(t, nixtest.Direct(), "nix-store", "--query", "--requisites", top)) { // in topological order
		i, valid, err := w.Info(p)
		if err != nil || !valid {
			t.Fatal(p, err)
		}
		all = append(all, nixpush.Path(i))
	}
	return all
}

// built makes a store with a path that refers to others and has been built.
func built(t *testing.T, n *nixtest.Nix) (s store, top string) {
	t.Helper()
	box, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(box)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(n.Dir, "box"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(n.Dir, "box", "busybox"), raw, 0o755); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	n.WriteFile(t, "d.nix", `let
  box = builtins.path { path = ./box; name = "box"; };
  make = name: text: derivation { inherit name; system = builtins.currentSystem; builder = "${box}/busybox"; args = [ "sh" "-c" text ]; };
  below = make "below" "${box}/busybox mkdir $out; echo low > $out/file; echo '#!x' > $out/run; ${box}/busybox chmod +x $out/run; ${box}/busybox ln -s file $out/link";
in make "top" "echo ${below} $out > $out"`)
	n.Daemon(t)
	return store{n}, n.Must(t, nixtest.Direct(), "nix-build", "--no-out-link", "/mnt/d.nix")
}

func newKey(t *testing.T, name string) nixpush.Key {
	t.Helper()
	_, secret, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	k, err := nixpush.ParseKey(name + ":" + base64.StdEncoding.EncodeToString(secret) + "\n")
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func open(t *testing.T, address string) nixpush.Cache {
	t.Helper()
	to, err := nixopt.ParsePush(address)
	if err != nil {
		t.Fatal(err)
	}
	c, err := nixpush.Open(to, func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// fetch has another store, whose daemon trusts a key, take a path from a cache, and says how it went.
func fetch(t *testing.T, version, cache, key, path string) error {
	t.Helper()
	n := nixtest.New(t, version)
	n.WriteFile(t, "etc/nix.conf", "trusted-users =\nsandbox = false\nbuild-users-group =\nexperimental-features = nix-command\nsubstituters = "+cache+"\ntrusted-public-keys = "+key+"\n")
	n.Daemon(t)
	_, said, err := n.Run(t.Context(), nixtest.Direct(), "nix-store", "--realise", path)
	if err != nil {
		return fmt.Errorf("%w: %s", err, said)
	}
	n.Must(t, nixtest.Direct(), "nix-store", "--verify", "--check-contents")
	n.Must(t, nixtest.Direct(), "sh", "-ec", `test "$(cat $(cut -d" " -f1 `+path+`)/link)" = low`)
	return nil
}

// TestNixTakesWhatIsPushed has real Nix take what is pushed, compressed and not, and refuse what another key has signed.
func TestNixTakesWhatIsPushed(t *testing.T) {
	t.Parallel()
	nixtest.Each(t, func(t *testing.T, n *nixtest.Nix) {
		s, top := built(t, n)
		paths, key := s.closure(t, top), newKey(t, "cache.example.org-1")
		for _, how := range []string{"", "?compression=none"} {
			dir := t.TempDir()
			p := &nixpush.Pusher{Cache: open(t, "file://"+dir+how), Key: key, Plain: how != ""}
			done, err := p.Push(t.Context(), s, paths)
			if err != nil || done.Paths != 2 || done.Bytes == 0 || len(done.Bad) > 0 {
				t.Fatalf("%+v, %v", done, err)
			}
			again := &nixpush.Pusher{Cache: open(t, "file://"+dir), Key: key}
			if done, err := again.Push(t.Context(), s, paths); err != nil || done.Paths != 0 {
				t.Errorf("what the cache has was sent again: %+v, %v", done, err)
			}
			server := httptest.NewServer(http.FileServer(http.Dir(dir)))
			defer server.Close()
			for _, version := range []string{"2.8", "2.26"} {
				if err := fetch(t, version, server.URL, key.Public(), top); err != nil {
					t.Error(version, how, err)
				}
			}
			if err := fetch(t, n.Version, server.URL, newKey(t, "cache.example.org-1").Public(), top); err == nil {
				t.Error("a wrong key was accepted")
			}
		}
	})
}
