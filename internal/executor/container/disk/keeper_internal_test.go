package disk

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
)

// quiet is a keeper whose engine cannot be reached; looks counts its attempts.
func quiet(t *testing.T) (k *Keeper, looks func() int) {
	t.Helper()
	var mu sync.Mutex
	n := 0
	k = New(Options{
		Path: filepath.Join(t.TempDir(), "ledger.json"), Log: slog.New(slog.DiscardHandler),
		InUse: func() ([]string, error) { return nil, nil },
		Engine: func(context.Context) (*engineapi.Engine, error) {
			mu.Lock()
			defer mu.Unlock()
			n++
			return nil, errors.New("it is away")
		},
	})
	k.Set("entry", Policy{Bytes: 1})
	return k, func() int {
		mu.Lock()
		defer mu.Unlock()
		return n
	}
}

// Jobs that end all the time make a look now and then, in the background.
func TestLooksAreRare(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k, looks := quiet(t)
		for range 600 { // ten minutes
			k.Look()
			time.Sleep(time.Second)
		}
		if n := looks(); n < 3 || n > 4 {
			t.Errorf("%d looks in ten minutes", n)
		}
		k.Pull("debian", "")("")
		time.Sleep(urgently + time.Second)
		after := looks()
		k.Pull("debian", "")("")
		synctest.Wait()
		time.Sleep(time.Millisecond)
		if n := looks(); n != after+1 && n != after {
			t.Errorf("%d looks for a pull", n-after)
		}
		k.Look()
		k.Close()
		after = looks()
		k.Look()
		time.Sleep(time.Hour)
		if n := looks(); n != after {
			t.Errorf("%d looks after Close", n-after)
		}
	})
}

// Looks that take long do not pile up: one at a time, and the next one after a pause.
func TestSlowLooksDoNotPileUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k, looks := quiet(t)
		at := k.o.Engine
		under := 0
		k.o.Engine = func(ctx context.Context) (*engineapi.Engine, error) {
			if under++; under > 1 {
				t.Error("two looks at once")
			}
			defer func() { under-- }()
			time.Sleep(5 * time.Minute)
			return at(ctx)
		}
		for n := range 3600 { // an hour
			k.Look()
			if n%10 == 0 {
				k.Pull("debian", "")("")
			}
			time.Sleep(time.Second)
		}
		if n := looks(); n < 10 || n > 12 {
			t.Errorf("%d looks of five minutes in an hour", n)
		}
		k.Close()
		synctest.Wait()
		after := looks()
		time.Sleep(time.Hour)
		if n := looks(); n != after {
			t.Errorf("%d looks after Close", n-after)
		}
	})
}

func TestAJobWaitsOnlyForItsImage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k, _ := quiet(t)
		defer k.Close()
		open := k.close(newRefs("docker.io/library/debian:trixie"))
		took := func(ref string) time.Duration {
			start := time.Now()
			k.Wait(t.Context(), ref)
			return time.Since(start)
		}
		if d := took("alpine:3"); d != 0 {
			t.Errorf("waited %s for the eviction of another image", d)
		}
		if d := took("debian:trixie"); d != gateTime {
			t.Errorf("waited %s for an eviction that does not end", d)
		}
		time.AfterFunc(time.Second, open)
		if d := took("debian:trixie"); d != time.Second {
			t.Errorf("waited %s for an eviction of a second", d)
		}
		if d := took("debian:trixie"); d != 0 {
			t.Errorf("waited %s for nothing", d)
		}
	})
}
