package poll

import (
	"sync"
	"time"
)

// Slot is the right to run one job. Its methods may be called concurrently.
type Slot struct {
	poller *Poller
	runner *runner
	key    string // of runner
	id     int
	once   sync.Once
	number sync.Once

	over, parked, vacated bool // the Poller's mu guards them
}

// ID is CI_CONCURRENT_ID: the lowest number, from 0, that no other job of the runner had when this one came.
func (s *Slot) ID() int { return s.id }

// Release gives the slot back: the job is over. Later calls do nothing.
func (s *Slot) Release() { s.once.Do(s.release) }

// FreeNumber gives the slot's number to others while the job still holds the slot: nothing is left where the number
// leads. Release does the same. Later calls do nothing.
func (s *Slot) FreeNumber() { s.number.Do(func() { s.poller.numbers.Free(s.key, s.id) }) }

// Park lets others have the slot while the job is not over but does no work, since its coordinator does not
// take its result: other coordinators' runners must not wait for that. The job still counts for its runner's Limit.
// At most Concurrent jobs are parked at a time; beyond that, and after Release, it does nothing.
func (s *Slot) Park() {
	p := s.poller
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.parked || s.over || s.vacated || p.parked >= p.concurrent {
		return
	}
	s.parked = true
	p.parked++
	p.used--
	p.poke()
}

// Vacate gives all of the slot back but its number, which nobody else gets before Release: the job is over, and something
// of it is kept that the number belongs to. It may be called once, before Release.
func (s *Slot) Vacate() {
	s.leave(func() { s.vacated = true })
}

func (s *Slot) release() {
	s.FreeNumber()
	s.leave(func() { s.over = true })
}

// leave ends the job's part of what is counted, unless that has been done. note says what has happened.
func (s *Slot) leave(note func()) {
	p, r := s.poller, s.runner
	p.mu.Lock()
	counted := !s.vacated && !s.over
	note()
	if !counted {
		p.mu.Unlock()
		return
	}
	r.jobs--
	if s.parked {
		p.parked--
	} else {
		p.used--
	}
	if now := time.Now(); !r.backoff && r.next.After(now) && !r.StrictCheckInterval {
		r.ask(now) // a job that ends may make others of its pipeline ready
	}
	if r.leaving {
		p.forget()
	}
	p.mu.Unlock()
	p.observer.SlotChanged(s.key, false)
	p.poke()
}

// Adopt takes a slot for a job of an earlier process, over all limits, with the number that it has.
// The runner need not be configured. It is for before Run.
func (p *Poller) Adopt(runner string, id int) *Slot {
	p.numbers.Reserve(runner, id)
	p.mu.Lock()
	r := p.runner(runner)
	r.jobs++
	p.used++
	p.mu.Unlock()
	p.observer.SlotChanged(runner, true)
	return &Slot{poller: p, runner: r, key: runner, id: id}
}

// Numbers gives out the lowest free number, from 0, for each key. The zero value is ready, and its
// methods may be called concurrently.
type Numbers struct {
	mu   sync.Mutex
	used map[string]map[int]int // holders by key and number
}

// Take returns the lowest number of key that nobody holds, and holds it until Free.
func (n *Numbers) Take(key string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	number := 0
	for n.used[key][number] > 0 {
		number++
	}
	n.hold(key, number)
	return number
}

// Reserve holds number for one more holder, whoever holds it already.
func (n *Numbers) Reserve(key string, number int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hold(key, number)
}

// Free ends one hold of number. What nobody holds is left alone.
func (n *Numbers) Free(key string, number int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	held := n.used[key]
	if held[number] > 1 {
		held[number]--
		return
	}
	delete(held, number)
	if len(held) == 0 {
		delete(n.used, key)
	}
}

func (n *Numbers) hold(key string, number int) {
	if n.used == nil {
		n.used = map[string]map[int]int{}
	}
	if n.used[key] == nil {
		n.used[key] = map[int]int{}
	}
	n.used[key][number]++
}
