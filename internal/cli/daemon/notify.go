package daemon

import (
	"net"
	"os"
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

// notifyWithin bounds a message to systemd: one that nobody takes must not hold the runner up.
const notifyWithin = time.Second

// notify sends one message of sd_notify(3), if somebody wants them.
func (d *Daemon) notify(state string) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	err := func() error {
		conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close() }()
		if err := conn.SetWriteDeadline(time.Now().Add(notifyWithin)); err != nil {
			return err
		}
		_, err = conn.Write([]byte(state))
		return err
	}()
	if err != nil {
		d.log.Warn("systemd could not be told how the runner is", "state", state, "error", err)
	}
}
