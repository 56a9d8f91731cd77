package agent

import (
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// alarm calls a function at a boottime. Go's own timers stand still while the machine sleeps.
type alarm struct {
	f    *os.File
	done chan struct{}
	off  atomic.Bool
}

// newAlarm returns an alarm that calls fire once, in a goroutine of its own, at the boottime at.
func newAlarm(at time.Duration, fire func()) (*alarm, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_BOOTTIME, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make a timer: %w", err)
	}
	f := os.NewFile(uintptr(fd), "timer")
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(max(at.Nanoseconds(), 1))}
	if err := unix.TimerfdSettime(fd, unix.TFD_TIMER_ABSTIME, &spec, nil); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("set a timer: %w", err)
	}
	a := &alarm{f: f, done: make(chan struct{})}
	go func() {
		defer close(a.done)
		if _, err := f.Read(make([]byte, 8)); err == nil && !a.off.Load() {
			fire()
		}
	}()
	return a, nil
}

// stop disarms the alarm. fire may be running still; wait waits for it.
func (a *alarm) stop() {
	a.off.Store(true)
	_ = a.f.Close()
}

func (a *alarm) wait() { <-a.done }
