package enginetest

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"gitlab.com/skerry/skerry/internal/nixstore/nixtest"
)

var loading sync.Mutex //nolint:gochecknoglobals // what a test process loads, one image at a time

// loadAlone has one image at a time be loaded into an engine, also by other processes of this user until unlock is called: those that
// run tests again for a rootless engine would all bring it the same large images at once.
func (e Engine) loadAlone(t *testing.T) (unlock func()) {
	t.Helper()
	loading.Lock()
	release, err := nixtest.Lock(filepath.Join("/tmp", fmt.Sprintf("skerry-test-load-%s-%d", e.Name, os.Getuid()))) // TMPDIR is another for each
	if err != nil {
		loading.Unlock()
		t.Fatal(err)
	}
	return func() {
		release()
		loading.Unlock()
	}
}
