package agent

import (
	"sync"
	"time"

	"gitlab.com/skerry/skerry/internal/boottime"
)

// lease notices that nobody has been in contact for too long. Requests in progress are contact,
// except those that may last for ever (a spool being followed by a runner that hangs).
type lease struct {
	mu      sync.Mutex
	length  time.Duration // 0: never
	last    time.Duration // boottime of the last contact
	active  int
	expired func(length time.Duration)
	alarm   *alarm
	over    bool
}

func (l *lease) start(length time.Duration, expired func(time.Duration)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expired, l.length, l.last = expired, length, boottime.Now()
	l.arm()
}

// set changes the length and counts as contact.
func (l *lease) set(length time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.length, l.last = length, boottime.Now()
	l.arm()
}

// touch is contact that goes on until done is called.
func (l *lease) touch() (done func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.active++
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.active--
		l.last = boottime.Now()
	}
}

// arm sets the alarm to when the lease would end without further contact; what happened meanwhile is seen then.
func (l *lease) arm() {
	if l.alarm != nil {
		l.alarm.stop()
		l.alarm = nil
	}
	if l.length <= 0 || l.over {
		return
	}
	at := l.last + l.length
	if l.active > 0 {
		at = boottime.Now() + l.length
	}
	if a, err := newAlarm(at, l.ring); err == nil { // without a timer: the job's deadline still holds
		l.alarm = a
	}
}

func (l *lease) ring() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over || l.length <= 0 {
		return
	}
	if l.active > 0 || boottime.Now() < l.last+l.length {
		l.arm()
		return
	}
	l.over = true
	l.expired(l.length)
}

func (l *lease) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
	l.arm()
}
