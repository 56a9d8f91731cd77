package carrier

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gitlab.com/skerry/skerry/internal/agent"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
)

// probed is what the engine says of a probe, by how long ago it was started, and when it listens in a directory of this machine.
type probed struct {
	listens time.Duration // 0: never here
	says    time.Duration // that it does; 0: never
	ends    time.Duration // 0: never
	word    string
	wrong   error // of the engine
}

// TestAwaitNonce takes no engine for one of another machine because a machine is slow.
func TestAwaitNonce(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		probed
		why string        // empty: proved
		err bool          // nothing is proved
		max time.Duration // that it takes
	}{
		"at once":                    {probed{listens: 1, says: 1, word: "nonce"}, "", false, time.Second},
		"before it is heard to":      {probed{listens: time.Second, word: "nonce"}, "", false, 2 * time.Second},
		"on a slow machine":          {probed{listens: 50 * time.Second, says: 50 * time.Second, word: "nonce"}, "", false, 51 * time.Second},
		"with another word":          {probed{listens: 1, word: "other"}, "does not say", false, time.Second},
		"elsewhere":                  {probed{says: time.Second}, "does not answer", false, 2 * time.Second},
		"it ends without a word":     {probed{ends: time.Minute}, "ended with exit code 3", false, 62 * time.Second},
		"the container is gone":      {probed{wrong: errors.New("gone")}, "gone", false, time.Second},
		"the engine does not answer": {probed{wrong: &engineapi.UnreachableError{}}, "", true, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, err := os.MkdirTemp("", "skp") // a socket's path is short
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.RemoveAll(dir) })
			// The probe's own process, so to speak: what waits for a connection has no part in a clock that only runs while nobody does.
			var at listener
			serving := make(chan struct{})
			go func() { defer close(serving); at.serve(c.word) }()
			synctest.Test(t, func(t *testing.T) { c.await(t, dir, &at, c.why, c.err, c.max) })
			at.end()
			<-serving
		})
	}
}

// listener is what a probe listens by, once it does.
type listener struct {
	mu   sync.Mutex
	l    net.Listener
	over bool
}

func (a *listener) listen(path string) (err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.l, err = net.Listen("unix", path)
	return err
}

func (a *listener) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.over = true; a.l != nil {
		_ = a.l.Close()
	}
}

// serve says a word to the first who connects.
func (a *listener) serve(word string) {
	for {
		a.mu.Lock()
		l, over := a.l, a.over
		a.mu.Unlock()
		if over {
			return
		}
		if l != nil {
			if conn, err := l.Accept(); err == nil {
				_, _ = conn.Write([]byte(word))
				_ = conn.Close()
			}
			return
		}
		time.Sleep(time.Millisecond)
	}
}

func (p probed) await(t *testing.T, dir string, at *listener, wantWhy string, wantErr bool, limit time.Duration) {
	t.Helper()
	began := time.Now()
	if p.listens > 0 {
		time.AfterFunc(p.listens, func() {
			if err := at.listen(filepath.Join(dir, agent.ProbeSocket)); err != nil {
				t.Error(err)
			}
		})
	}
	passed := func(d time.Duration) bool { return d > 0 && time.Since(began) >= d }
	why, err := awaitNonce(t.Context(), dir, "nonce", func() (looks, error) {
		now := looks{running: !passed(p.ends), code: 3}
		if passed(p.says) {
			now.said = agent.ProbeListens + "\n"
		}
		return now, p.wrong
	})
	if (err != nil) != wantErr || (why == nil) != (wantWhy == "") || why != nil && !strings.Contains(why.Error(), wantWhy) {
		t.Errorf("not local because of %v; error %v", why, err)
	}
	if took := time.Since(began); took > limit {
		t.Errorf("it took %s", took)
	}
}

// TestAwaitNonceGivenUp proves nothing by what fails because nobody wants to know any more.
func TestAwaitNonceGivenUp(t *testing.T) {
	t.Parallel()
	for name, now := range map[string]struct {
		looks
		err error
	}{
		"the look fails":    {err: context.Canceled},
		"it has just ended": {looks: looks{code: 1}},
		"it listens":        {looks: looks{running: true, said: agent.ProbeListens}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				cancelled := errors.New("the job was cancelled")
				why, err := awaitNonce(ctx, t.TempDir(), "nonce", func() (looks, error) {
					cancel(cancelled)
					return now.looks, now.err
				})
				if why != nil || !errors.Is(err, cancelled) {
					t.Errorf("not local because of %v; error %v", why, err)
				}
			})
		})
	}
}

// TestIsLocalGivenUp has jobs that are cancelled leave at once, also while they wait for another's proof, and others not suffer from it.
func TestIsLocalGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var c Carrier
		cancelled := errors.New("the job was cancelled")
		first, cancelFirst := context.WithCancelCause(t.Context())
		second, cancelSecond := context.WithCancelCause(t.Context())
		var jobs sync.WaitGroup
		jobs.Go(func() {
			_, err := c.isLocal(first, func() (why, err error) {
				<-first.Done()
				return nil, context.Cause(first)
			})
			if !errors.Is(err, cancelled) {
				t.Errorf("the first: %v", err)
			}
		})
		synctest.Wait()
		left := make(chan error, 1)
		jobs.Go(func() {
			_, err := c.isLocal(second, func() (why, err error) { return errors.New("two at once"), nil })
			left <- err
		})
		jobs.Go(func() {
			if local, err := c.isLocal(t.Context(), func() (why, err error) { return nil, nil }); !local || err != nil { //nolint:nilnil // proved
				t.Errorf("the third: local %v, %v", local, err)
			}
		})
		synctest.Wait()
		cancelSecond(cancelled)
		if err := <-left; !errors.Is(err, cancelled) {
			t.Errorf("the second: %v", err)
		}
		cancelFirst(cancelled)
		jobs.Wait()
		if local, err := c.isLocal(t.Context(), func() (why, err error) { return errors.New("asked again"), nil }); !local || err != nil {
			t.Errorf("afterwards: local %v, %v", local, err)
		}
	})
}
