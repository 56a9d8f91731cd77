package nested

import (
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

// TestAwaitIsPatient gives an engine as long as the runner waits for one on its own machine.
func TestAwaitIsPatient(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		if err := await(t.Context(), filepath.Join(t.TempDir(), "none.sock")); err == nil {
			t.Error("an engine that is not there answers")
		}
		if took := time.Since(began); took < 3*time.Minute || took > 3*time.Minute+time.Second {
			t.Errorf("it was waited for for %s", took)
		}
	})
}
