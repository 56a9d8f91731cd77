package generations_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"gitlab.com/skerry/skerry/internal/executor/container/generations"
)

// TestWhenImagesAreCopied bounds what copies take beside the jobs.
func TestWhenImagesAreCopied(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var o generations.Offers
		begin := func(key string) func(bool, error) {
			_, end, ok := o.Begin(t.Context(), key, time.Minute)
			if !ok {
				return nil
			}
			return end
		}
		a := begin("a")
		if a == nil || begin("a") != nil {
			t.Fatal("one domain is copied twice at once, or never")
		}
		b := begin("b")
		if b == nil || begin("c") != nil {
			t.Fatal("more than two are copied at once, or only one")
		}
		b(true, nil)
		if b = begin("b"); b == nil {
			t.Fatal("after a copy was made there is no other one")
		}
		b(true, nil)
		a(true, errors.New("no room"))
		for _, rest := range []time.Duration{2 * time.Minute, 4 * time.Minute, 8 * time.Minute} {
			time.Sleep(rest - time.Second)
			if begin("a") != nil {
				t.Fatalf("after a failure a copy is made within %s", rest)
			}
			time.Sleep(time.Second)
			if a = begin("a"); a == nil {
				t.Fatalf("after %s no copy is made", rest)
			}
			a(false, nil) // it was not its turn: that is no success
			if a = begin("a"); a == nil {
				t.Fatal("a try that was none counts")
			}
			a(true, errors.New("no room"))
		}
		b = begin("b")
		b(true, generations.ErrNothing)
		time.Sleep(time.Minute - time.Second)
		if begin("b") != nil {
			t.Fatal("right after there was nothing new an engine is started to look for it again")
		}
		time.Sleep(time.Second)
		if b = begin("b"); b == nil {
			t.Fatal("where there was nothing new once, nothing is looked for any more")
		}
	})
}

// TestCopiesEndWithTheRunner which would wait for them in vain, and leave them behind.
func TestCopiesEndWithTheRunner(t *testing.T) {
	t.Parallel()
	var o generations.Offers
	ctx, end, ok := o.Begin(t.Context(), "a", time.Minute)
	if !ok {
		t.Fatal("no copy is made")
	}
	o.Close()
	o.Close()
	if !errors.Is(context.Cause(ctx), generations.ErrOver) {
		t.Errorf("it goes on: %v", context.Cause(ctx))
	}
	end(true, context.Cause(ctx))
	if _, _, ok := o.Begin(t.Context(), "b", time.Minute); ok {
		t.Error("a copy is begun when the runner ends")
	}
}
