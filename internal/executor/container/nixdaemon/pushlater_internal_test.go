package nixdaemon

import (
	"errors"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

// TestAnotherProcessPushes has a process vanish with a job at work, or over.
func TestAnotherProcessPushes(t *testing.T) {
	t.Parallel()
	q, told := &queues{queue: []string{built}, fails: errors.New("the first process gets nothing")}, make(pushes, 1000)
	s := &script{answer: q.answer}
	path := filepath.Join(t.TempDir(), "nix.json")
	first := s.keeper(t, Options{Tend: time.Hour, Path: path})
	first.attach = q.attach
	a, cache := pushing(t)
	first.Use(a) // it is killed before the job is over
	if _, err := first.Ensure(t.Context(), a, "id"); err != nil {
		t.Fatal(err)
	}
	q.mu.Lock()
	q.fails = nil
	q.mu.Unlock()
	second := s.keeper(t, Options{Tend: time.Hour, Path: path, Pushed: told.told})
	second.attach = q.attach
	second.Adopt("o", nil, func(map[string]string) bool { return false })
	if p := <-told; p.Paths != 1 || !there(cache, built) {
		t.Errorf("%+v", p)
	}
	second.Close()
	r, err := readRecord(path)
	if err != nil || r.Domains["a"].Unpushed {
		t.Errorf("what is pushed is to be pushed: %+v, %v", r, err)
	}
}

// TestRemembersWhatIsToBePushed has a process vanish at the moments at which it alone knows that something is to be pushed.
func TestRemembersWhatIsToBePushed(t *testing.T) {
	t.Parallel()
	q, told := &queues{queue: []string{built}}, make(pushes, 1000)
	s := &script{answer: q.answer}
	path := filepath.Join(t.TempDir(), "nix.json")
	var live atomic.Value
	live.Store([]string{"job", "late"})
	k := s.keeper(t, Options{Tend: time.Hour, Path: path, Pushed: told.told, Live: func(string) ([]string, error) {
		jobs, _ := live.Load().([]string)
		return jobs, nil
	}})
	k.attach = q.attach
	remembered := func() bool {
		t.Helper()
		k.mu.Lock() // a push is told of while it is held
		defer k.mu.Unlock()
		r, err := readRecord(path)
		if err != nil {
			t.Fatal(err)
		}
		return r.Domains["a"].Unpushed
	}
	a, _ := pushing(t)
	useOnce(t, k, a)
	if p := <-told; p.Failed || !remembered() {
		t.Errorf("%+v: what another job has built is forgotten", p)
	}
	live.Store([]string{"late"})
	k.Over("a", "late")
	if p := <-told; p.Failed || remembered() {
		t.Errorf("%+v: all is pushed, and is to be", p)
	}
	q.mu.Lock()
	q.fails = errors.New("the process is killed")
	q.mu.Unlock()
	k.Over("a", "again")
	if !remembered() {
		t.Error("the end of a job is forgotten")
	}
}

// TestKeepsTheQueueOfAStoreThatItDoesNotKnow collects in a store of which nothing is written down any more.
func TestKeepsTheQueueOfAStoreThatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	q := &queues{}
	s := &script{answer: q.answer}
	k := s.keeper(t, Options{Tend: time.Hour})
	s.mu.Lock()
	s.containers["a"] = &words{running: true, started: true}
	s.mu.Unlock()
	k.Adopt("o", []string{"a"}, nil)
	if _, err := k.Collect(t.Context(), "a", Order{}); err != nil || !q.all()[0].Push {
		t.Errorf("%+v, %v", q.all(), err)
	}
}
