package gateway_test

import (
	"os"
	"path/filepath"
	"testing"

	"gitlab.com/skerry/skerry/internal/nixstore/gateway"
	"gitlab.com/skerry/skerry/internal/nixstore/nixwire"
)

// TestViewKnownLater could not show what the job knows from the beginning: it is shown before the job is told that it is there.
func TestViewKnownLater(t *testing.T) {
	t.Parallel()
	p := storePath("0", "p")
	d := newDaemon(t, &daemon{})
	store, dir := t.TempDir(), t.TempDir()
	g, socket := newGateway(t, gateway.Config{Upstream: d.socket, Roots: t.TempDir(), Job: "j", Known: []string{p + "/bin"}, View: dir, Store: store})
	g.Ready(t.Context())
	if err := os.WriteFile(filepath.Join(store, filepath.Base(p)), []byte("p"), 0o600); err != nil {
		t.Fatal(err)
	}
	d.mu.Lock()
	d.valid[p] = true
	d.mu.Unlock()
	a, err := mustConnect(t, socket).call(nixwire.IsValidPath, nil, tPath(p))
	if err != nil || a[0].Int != 1 {
		t.Fatal(a, err)
	}
	if _, err := os.Stat(filepath.Join(dir, filepath.Base(p))); err != nil {
		t.Error("the job does not see what it is told to be there: ", err)
	}
}
