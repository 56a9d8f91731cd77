package gitlabtest

import (
	"fmt"
	"slices"

	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/breach"
)

// Breaches returns the breaches so far, oldest first.
func (c *Coordinator) Breaches() []breach.Breach { return c.breaches.All() }

// TakeBreaches returns the breaches so far and forgets them: for tests that provoke one.
func (c *Coordinator) TakeBreaches() []breach.Breach { return c.breaches.Take() }

func (c *Coordinator) breach(kind breach.Kind, job int64, format string, args ...any) {
	if slices.Contains(c.opts.Tolerate, kind) {
		return
	}
	b := breach.Breach{Time: c.opts.Clock.Now(), Kind: kind, Job: job, Message: fmt.Sprintf(format, args...)}
	c.opts.Logger.Warn("breach of the runner API's contract", "kind", kind, "job", job, "what", b.Message)
	c.breaches.Add(b)
}

// TB is what Start needs of a *testing.T or *testing.B.
type TB interface {
	Helper()
	Cleanup(func())
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	TempDir() string
}

// Start starts a coordinator that ends with the test and makes it fail for every breach. An empty
// opts.Dir becomes a temporary directory of the test.
func Start(t TB, opts Options) *Coordinator {
	t.Helper()
	if opts.Dir == "" {
		opts.Dir = t.TempDir()
	}
	c, err := New(opts)
	if err != nil {
		t.Fatalf("start coordinator: %v", err)
		return nil
	}
	t.Cleanup(func() {
		t.Helper()
		c.Close()
		for _, b := range c.Breaches() {
			t.Errorf("breach of the runner API's contract: %v", b)
		}
	})
	return c
}
