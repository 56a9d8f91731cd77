package supervise

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"gitlab.com/skerry/skerry/internal/cli/program"
	"gitlab.com/skerry/skerry/internal/supervisor"
)

// engineStop is how long Podman may take to end when the runner has.
const engineStop = 5 * time.Second

// serve keeps both programs until a signal ends them.
func serve(ctx context.Context, p *program.Program, o options, l layout) error {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGHUP)
	defer signal.Stop(signals)
	r, err := runner(p, o, l)
	if err != nil {
		return err
	}
	err = supervisor.Confine(keptCapabilities())
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		p.Logger.Warn("supervise keeps rights that it does not need: this build of it is linked with C; use CGO_ENABLED=0")
	case err != nil:
		return fmt.Errorf("give up rights: %w", err)
	}
	reaper, err := supervisor.NewReaper()
	if err != nil {
		return err
	}
	defer reaper.Close()
	out := supervisor.NewLog(p.Streams.Err)
	e, err := supervisor.Keep(reaper, out, p.Logger, engine(p, o, l))
	if err != nil {
		return err
	}
	defer e.Stop(engineStop)
	if !awaitEngine(ctx, p.Logger, e, signals) {
		return nil
	}
	p.Logger.Info("Podman answers; the runner is started", "socket", o.socket, "config", l.config, "state_dir", o.stateDir)
	k, err := supervisor.Keep(reaper, out, p.Logger, r)
	if err != nil {
		return err
	}
	stopPruning := l.pruning(ctx, p.Logger, o, reaper, out, r.Command)
	defer stopPruning()
	follow(ctx, p.Logger, k, signals)
	return verdict(k)
}

// awaitEngine reports whether Podman can be used; false when it is to end before.
func awaitEngine(ctx context.Context, log *slog.Logger, e *supervisor.Kept, signals <-chan os.Signal) bool {
	for {
		select {
		case <-e.Ready():
			return true
		case <-ctx.Done():
			return false
		case s := <-signals:
			if s != syscall.SIGHUP { // there is nobody yet to read the configuration
				log.Info("Stopping before Podman could be used", "signal", s.String())
				return false
			}
		}
	}
}

// follow passes signals on to the runner until it has ended for good. A runner that waits for its next start when it is to end
// has none.
func follow(ctx context.Context, log *slog.Logger, k *supervisor.Kept, signals <-chan os.Signal) {
	over := ctx.Done()
	for {
		select {
		case <-k.Ended():
			return
		case <-over:
			over = nil
			k.Last()
			k.Signal(syscall.SIGTERM)
		case s := <-signals:
			log.Debug("Passing a signal on", "signal", s.String())
			if s != syscall.SIGHUP {
				k.Last()
			}
			if s, ok := s.(syscall.Signal); ok {
				k.Signal(s)
			}
		}
	}
}

// verdict is how supervise ends when the runner has.
func verdict(k *supervisor.Kept) error {
	if err := k.Err(); err != nil {
		return err
	}
	s := k.Status()
	switch {
	case s.Signaled() && (s.Signal() == syscall.SIGTERM || s.Signal() == syscall.SIGINT):
		return nil // as asked, before it could act on it
	case s.Signaled():
		return fmt.Errorf("the runner %s", supervisor.Ending(s))
	case s.ExitStatus() != 0:
		return &program.ExitError{Code: s.ExitStatus(), Err: fmt.Errorf("the runner %s", supervisor.Ending(s))}
	}
	return nil
}
