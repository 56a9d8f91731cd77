package nested

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/agent/nested/kept"
)

// machine is a file system of 100 GiB, an engine on it, others, and a clock.
type machine struct {
	now    time.Time
	engine kept.Size
	others int64
	takes  time.Duration // for a count
	fails  error
	counts int
	full   bool  // nothing is left
	blind  error // of asking what is free
	d      disk
}

const gib = 1 << 30

func newMachine(b Bound) *machine {
	m := &machine{now: time.Unix(1000, 0)}
	m.d = disk{
		bound: b, now: func() time.Time { return m.now },
		free: func() ([]kept.Size, error) {
			if m.blind != nil {
				return nil, m.blind
			}
			free := kept.Size{Bytes: 100*gib - m.engine.Bytes - m.others, Files: 1000 - m.engine.Files}
			if m.full {
				free.Bytes = 0
			}
			return []kept.Size{free, {Bytes: gib, Files: 10}}, nil
		},
		count: func(context.Context) (kept.Size, error) {
			m.counts++
			m.now = m.now.Add(m.takes)
			return m.engine, m.fails
		},
	}
	return m
}

// look passes some time, looks, and waits for the count that has begun.
func (m *machine) look(t *testing.T, after time.Duration) string {
	t.Helper()
	m.now = m.now.Add(after)
	if why := m.d.look(t.Context()); why != "" || m.d.counting == nil {
		return why
	}
	return m.d.take(t.Context(), <-m.d.counting.said)
}

// TestCountsWhenItMatters counts files when the bound may be exceeded, seldom otherwise, and never for a share of the time that others would notice.
func TestCountsWhenItMatters(t *testing.T) {
	t.Parallel()
	m := newMachine(Bound{Bytes: 10 * gib})
	for range 100 { // ten seconds
		m.engine.Bytes += gib / 20
		if why := m.look(t, tick); why != "" || m.counts > 0 {
			t.Fatalf("with %d bytes: %q, after %d counts", m.engine.Bytes, why, m.counts)
		}
	}
	m.takes = time.Second
	m.others = 7 * gib // which may be the engine's
	if why := m.look(t, tick); why != "" || m.counts != 1 {
		t.Errorf("when others have taken room: %q, after %d counts", why, m.counts)
	}
	m.engine.Bytes = 10*gib + 1
	if why := m.look(t, tick); why != "" || m.counts != 1 {
		t.Errorf("at once after a count: %q, after %d counts", why, m.counts)
	}
	if why := m.look(t, urgentMost); !strings.Contains(why, "it kept 10.0 GiB in 0 files, and 83.0 GiB are free: that is more than nested_disk in the runner's [runners.docker] allows, 10.0 GiB ") {
		t.Errorf("beyond its bound: %q", why)
	}
}

// TestOthersMakeRoom has somebody free what the engine takes.
func TestOthersMakeRoom(t *testing.T) {
	t.Parallel()
	m := newMachine(Bound{Bytes: 10 * gib})
	m.others = 50 * gib
	_ = m.look(t, 0)
	m.others, m.engine.Bytes = 20*gib, 30*gib
	if why := m.look(t, tick); why != "" || m.counts != 0 {
		t.Errorf("what nobody can see is seen: %q, after %d counts", why, m.counts)
	}
	if why := m.look(t, idle); why == "" || m.counts != 1 {
		t.Errorf("after a while: %q, after %d counts", why, m.counts)
	}

	m = newMachine(Bound{Bytes: 10 * gib})
	m.others = 50 * gib
	_ = m.look(t, 0)
	m.others = 0
	_ = m.look(t, tick)
	m.engine.Bytes = 11 * gib
	if why := m.look(t, tick); why == "" {
		t.Error("room that was made before it was taken hides what takes it")
	}
}

// TestShareOfWhatIsFree ends an engine that others have left no room, too.
func TestShareOfWhatIsFree(t *testing.T) {
	t.Parallel()
	m := newMachine(Bound{Percent: 50})
	_ = m.look(t, 0)
	m.engine.Bytes = 40 * gib
	if why := m.look(t, tick); why != "" {
		t.Errorf("less than half: %q", why)
	}
	m.others = 30 * gib
	if why := m.look(t, tick); !strings.Contains(why, `30.0 GiB are free: that is more than nested_disk = "50%"`) || !strings.Contains(why, "others have taken the room: 30.0 GiB") {
		t.Errorf("more than what is left: %q", why)
	}
	m = newMachine(Bound{Percent: 50})
	_ = m.look(t, 0)
	m.engine.Files = 501
	if why := m.look(t, tick); !strings.Contains(why, "in 501 files") || strings.Contains(why, "others") {
		t.Errorf("too many files: %q", why)
	}
}

// TestNobodyKnows ends an engine that keeps others from counting what it takes, and no other one.
func TestNobodyKnows(t *testing.T) {
	t.Parallel()
	m := newMachine(Bound{Bytes: 10 * gib})
	m.fails = errors.New("no more processes")
	_ = m.look(t, 0)
	for range 10 {
		if why := m.look(t, idle); why != "" {
			t.Fatalf("it cannot have taken too much: %q", why)
		}
	}
	if m.counts != 10 {
		t.Errorf("%d counts", m.counts)
	}
	m.engine.Bytes = 11 * gib
	for range int(unknownTime / tick) {
		if why := m.look(t, tick); why != "" {
			t.Fatalf("too early: %q", why)
		}
	}
	if why := m.look(t, tick); !strings.Contains(why, "cannot be counted (no more processes), and may be more than nested_disk") {
		t.Errorf("it may have taken everything: %q", why)
	}
}

// TestCountsThatAreHeldUp by whom they are to bound make the bound no later than one of them may take, and a full disk not at all.
func TestCountsThatAreHeldUp(t *testing.T) {
	t.Parallel()
	m := newMachine(Bound{Bytes: 10 * gib})
	_ = m.look(t, 0)
	m.engine.Bytes, m.takes, m.fails = 11*gib, countTime, errors.New("stopped")
	if why := m.look(t, tick); !strings.Contains(why, "cannot be counted (stopped)") {
		t.Errorf("after %s: %q", countTime, why)
	}

	m = newMachine(Bound{Bytes: 10 * gib})
	_ = m.look(t, 0)
	m.engine.Bytes, m.others, m.takes = gib, 10*gib, countTime
	if why := m.look(t, tick); why != "" || m.counts != 1 {
		t.Errorf("others have taken it: %q, after %d counts", why, m.counts)
	}
	m.others, m.engine.Bytes = 0, 11*gib
	if why := m.look(t, urgentMost); why == "" {
		t.Error("the next count is later")
	}

	for name, c := range map[string]struct {
		after time.Duration
		full  bool
		want  string
	}{
		"a count lasts":    {countTime, false, ""},
		"the disk is full": {tick, true, "its file system is full"},
		"it never ends":    {countTime + stuckTime, false, "the count does not end"},
	} {
		m = newMachine(Bound{Bytes: 10 * gib})
		m.d.count = func(ctx context.Context) (kept.Size, error) { // the thread that starts a program that is stopped
			<-t.Context().Done()
			return kept.Size{}, ctx.Err()
		}
		_ = m.look(t, 0)
		m.engine.Bytes = 11 * gib
		if why := m.d.look(t.Context()); why != "" || m.d.counting == nil {
			t.Fatalf("%s: %q", name, why)
		}
		m.now, m.full = m.now.Add(c.after), c.full
		if why := m.d.look(t.Context()); (c.want == "") != (why == "") || !strings.Contains(why, c.want) {
			t.Errorf("%s: %q", name, why)
		}
	}
}

// TestSeldomCounts are often enough, whatever they take.
func TestSeldomCounts(t *testing.T) {
	t.Parallel()
	m := newMachine(Bound{Bytes: 10 * gib})
	m.takes = countTime
	_ = m.look(t, 0)
	_ = m.look(t, idle)
	if _ = m.look(t, idleMost); m.counts != 2 {
		t.Errorf("%d counts", m.counts)
	}
}

// TestNobodySees ends an engine that keeps the program from knowing what is free, or from looking.
func TestNobodySees(t *testing.T) {
	t.Parallel()
	m := newMachine(Bound{Bytes: 10 * gib})
	_ = m.look(t, 0)
	m.blind = errors.New("input/output error")
	for range int(unknownTime / tick) {
		if why := m.look(t, tick); why != "" {
			t.Fatalf("too early: %q", why)
		}
	}
	if why := m.look(t, tick); !strings.Contains(why, "cannot be counted (input/output error)") {
		t.Errorf("nobody knows what is free: %q", why)
	}

	m = newMachine(Bound{Bytes: 10 * gib})
	_ = m.look(t, 0)
	if why := m.look(t, lateTime+tick); why != "" || m.counts != 1 {
		t.Errorf("nobody has looked: %q, after %d counts", why, m.counts)
	}
	m.engine.Bytes, m.fails = 11*gib, errors.New("killed")
	if why := m.look(t, lateTime+tick); !strings.Contains(why, "cannot be counted (killed)") {
		t.Errorf("nobody has looked or can count: %q", why)
	}
}
