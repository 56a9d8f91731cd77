package nixdaemon

import (
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/nixstore/nixd"
)

// A daemon that says after a collection what is left is not asked for that. What a job that ended meanwhile has left may be
// missing there.
func TestCollectionSaysWhatIsLeft(t *testing.T) {
	t.Parallel()
	o := &orders{left: &nixd.Stat{Paths: 9, Bytes: 90}}
	s := &script{answer: o.answer}
	k := s.keeper(t, Options{Tend: time.Hour})
	a := spec("a", Policy{})
	done := k.Use(a)
	if _, err := k.Ensure(t.Context(), a, "id"); err != nil {
		t.Fatal(err)
	}
	unused := func() bool {
		k.mu.Lock()
		defer k.mu.Unlock()
		return k.domain("a").Unused
	}
	for _, ends := range []bool{true, false} {
		o.within = func() {
			if ends {
				done()
			}
		}
		if _, err := k.Collect(t.Context(), "a", Order{}); err != nil {
			t.Fatal(err)
		}
		if unused() != ends {
			t.Errorf("a job ended meanwhile: %t, there may be something to collect: %t", ends, unused())
		}
	}
	if got := k.Known(); len(got) != 1 || got[0].All.Paths != 9 {
		t.Errorf("%+v", got)
	}
	if did := s.done("stat"); len(did) > 0 {
		t.Errorf("it is asked nevertheless: %q", did)
	}
}
