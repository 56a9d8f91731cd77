package daemon

import (
	"sync"
	"time"

	systemd "github.com/coreos/go-systemd/v22/daemon"
)

// notifyReady tells systemd that the runner is ready, where a service of Type=notify asked for it, and
// that it is alive, where WatchdogSec= is set, until stop is called. Source: sd_notify(3).
func (d *Daemon) notifyReady() (stop func()) {
	d.notify(systemd.SdNotifyReady)
	interval, err := systemd.SdWatchdogEnabled(false)
	if err != nil {
		d.log.Warn("The watchdog of systemd cannot be served", "error", err)
	}
	if interval <= 0 {
		return func() {}
	}
	ending := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		ticker := time.NewTicker(interval / 2)
		defer ticker.Stop()
		for {
			select {
			case <-ending:
				return
			case <-ticker.C:
				d.alive()
				d.notify(systemd.SdNotifyWatchdog)
			}
		}
	})
	return func() {
		close(ending)
		group.Wait()
	}
}

// alive returns when daemon and poller answer: a process where they are stuck is not alive.
func (d *Daemon) alive() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.poller.Stats()
}

// notifyStopping tells systemd that the runner is about to end.
func (d *Daemon) notifyStopping() { d.notify(systemd.SdNotifyStopping) }

func (d *Daemon) notify(state string) {
	if _, err := systemd.SdNotify(false, state); err != nil {
		d.log.Warn("systemd could not be told how the runner is", "state", state, "error", err)
	}
}
