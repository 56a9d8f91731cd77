package poll

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// A job whose coordinator does not take its result leaves its slot to others; so do at most as many as there
// are slots.
func TestPark(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, other := newCoordinator(), newCoordinator()
		parking := map[string]bool{"a1": true, "a2": true}
		slots := make(chan *Slot, 3)
		b := startBench(t, Options{}, Settings{})
		b.Poller.handle = func(ctx context.Context, runner string, payload []byte, slot *Slot) {
			if parking[string(payload)] {
				slots <- slot
			}
			b.handle(ctx, runner, payload, slot)
		}
		b.Set(Settings{Concurrent: 1, Runners: []Runner{
			{Key: "a", Request: a.request, Limit: 2}, {Key: "b", Request: other.request},
		}})
		a.add("a1")
		time.Sleep(5 * sec)
		other.add("b1")
		time.Sleep(5 * sec)
		if got := b.got(); len(got) != 1 {
			t.Fatalf("two jobs on one slot: %v", got)
		}
		first := <-slots
		first.Park()
		first.Park()
		time.Sleep(5 * sec)
		if got := b.got(); len(got) != 2 || got[1].Job != "b1" {
			t.Fatalf("nobody took the slot of a parked job: %v", got)
		}
		b.end("b1")
		a.add("a2", "a3")
		time.Sleep(5 * sec)
		(<-slots).Park() // one is parked already
		other.add("b2")
		time.Sleep(5 * sec)
		if got := b.got(); len(got) != 3 || got[2].Job != "a2" || got[2].ID != 1 {
			t.Fatalf("more jobs are parked than there are slots, or a number was given twice: %v", got)
		}
		b.end("a1")
		b.end("a2")
		time.Sleep(10 * sec)
		first.Park()
		if got := b.got(); len(got) != 4 {
			t.Fatalf("slots are lost: %v", got)
		}
		if s := b.Stats(); s.Jobs != 1 {
			t.Errorf("%+v", s)
		}
		b.stop()
	})
}

// A number can be another's while the job that had it still holds its slot.
func TestFreeNumber(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCoordinator()
		b := startBench(t, Options{}, Settings{})
		b.Poller.handle = func(ctx context.Context, runner string, payload []byte, slot *Slot) {
			if string(payload) == "1" {
				slot.FreeNumber()
				slot.FreeNumber()
			}
			b.handle(ctx, runner, payload, slot)
		}
		b.Set(Settings{Concurrent: 2, Runners: one(c, 0)})
		for _, job := range []string{"1", "2", "3"} {
			c.add(job)
			time.Sleep(5 * sec)
		}
		b.end("1")
		time.Sleep(5 * sec)
		var ids []int
		for _, p := range b.got() {
			ids = append(ids, p.ID)
		}
		want(t, []int{0, 0, 1}, ids)
		b.end("2")
		b.end("3")
	})
}

// A vacated slot is free for others, over and over, and its number is not.
func TestVacate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newCoordinator()
		slots := make(chan *Slot, 3)
		b := startBench(t, Options{}, Settings{})
		b.Poller.handle = func(ctx context.Context, runner string, payload []byte, slot *Slot) {
			slots <- slot
			b.handle(ctx, runner, payload, slot)
		}
		b.Set(Settings{Concurrent: 1, Runners: []Runner{{Key: "a", Request: a.request, Limit: 1}}})
		for i, job := range []string{"a1", "a2", "a3"} {
			a.add(job)
			time.Sleep(5 * sec)
			got := b.got()
			if len(got) != i+1 || got[i].ID != i {
				t.Fatalf("job %d: %v", i, got)
			}
			slot := <-slots
			if i == 1 {
				slot.Park()
			}
			slot.Vacate()
			slot.Park() // does nothing
		}
		b.end("a1")
		a.add("a4")
		time.Sleep(5 * sec)
		if got := b.got(); len(got) != 4 || got[3].ID != 0 {
			t.Fatalf("the number of a released slot is not free: %v", got)
		}
		a.add("a5")
		time.Sleep(5 * sec)
		if got := b.got(); len(got) != 4 {
			t.Fatalf("releasing a vacated slot made room: %v", got)
		}
		for _, job := range []string{"a2", "a3", "a4"} {
			b.end(job)
		}
	})
}
