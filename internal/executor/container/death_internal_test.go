package container

import (
	"errors"
	"strings"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
)

// TestEndedWithTheEngine: a container that nobody saw the end of did not end by itself, nor by its image's entrypoint.
func TestEndedWithTheEngine(t *testing.T) {
	t.Parallel()
	v := &environment{b: &blueprint{}}
	v.entrypoint.Store(&[]string{"/entry"})
	var failure *executor.Failure
	err := v.ended(executor.Build, &part{Image: "image"}, engineapi.State{Ended: time.Unix(1, 0), ExitCode: 3}, "")
	if !errors.As(err, &failure) || !strings.Contains(err.Error(), "entrypoint") {
		t.Errorf("by its entrypoint: %v", err)
	}
	err = v.ended(executor.Build, &part{Image: "image"}, engineapi.State{Unseen: true}, "words")
	if errors.As(err, &failure) || !strings.Contains(err.Error(), "ended together with its engine") {
		t.Errorf("with the engine: %v", err)
	}
}
