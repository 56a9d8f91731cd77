package supervise

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"gitlab.com/skerry/skerry/internal/calendar"
	"gitlab.com/skerry/skerry/internal/cli/program"
	"gitlab.com/skerry/skerry/internal/control"
	"gitlab.com/skerry/skerry/internal/supervisor"
)

// pruneTime bounds one removal of what nothing uses.
const pruneTime = 30 * time.Minute

// newPrune has the runner remove what nothing uses: it alone knows what its jobs are about to need.
func newPrune(p *program.Program) *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "Remove images and containers that nothing uses",
		Long: "Have the runner that `supervise` keeps running remove what nothing uses from the Podman beside it, as --prune-interval does at its times: images that no container and no job has, " +
			"and containers that ended, were made more than an hour ago and are not the runner's.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), pruneTime)
			defer cancel()
			return prune(ctx, p.Logger, o)
		},
	}
	o.places(p, cmd)
	return cmd
}

func prune(ctx context.Context, log *slog.Logger, o options) error {
	c := control.NewClient(o.stateDir)
	defer c.Close()
	done, err := c.Prune(ctx, o.socket)
	if err != nil {
		return err
	}
	log.Info("Removed what nothing uses", "images", done.Images, "containers", done.Containers, "freed", units.BytesSize(float64(done.Bytes)))
	if done.Problem != "" {
		return errors.New("not everything could be removed: " + done.Problem)
	}
	return nil
}

// pruning prunes at its times, as the runner's user and with a program of its own: this process has no right to the runner's
// files. It ends when stop is called.
func (l layout) pruning(ctx context.Context, log *slog.Logger, o options, r *supervisor.Reaper, out *supervisor.Log, like supervisor.Command) (stop func()) {
	like.Args = []string{"supervise", "prune", "--state-dir", o.stateDir, "--socket", o.socket}
	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	group.Go(func() {
		repeat(ctx, o.pruneAt, func() {
			s, err := supervisor.Run(ctx, r, out, "prune", like)
			if err != nil && ctx.Err() == nil {
				log.Error("What nothing uses could not be removed", "error", err)
			} else if s.ExitStatus() != 0 && ctx.Err() == nil {
				log.Warn("Not all that nothing uses was removed; the next time tries again", "at", o.pruneAt.Next(time.Now()).Format(time.DateTime))
			}
		})
	})
	return func() {
		cancel()
		group.Wait()
	}
}

// lookAgain is how often the clock is looked at: it may be set, and a machine may sleep.
const lookAgain = time.Minute

// repeat calls do whenever the schedule says, until ctx is over.
func repeat(ctx context.Context, s calendar.Schedule, do func()) {
	for {
		due := s.Next(time.Now().Round(0)) // by the clock on the wall
		if due.IsZero() {
			return
		}
		for wait := time.Until(due); wait > 0; wait = time.Until(due) {
			timer := time.NewTimer(min(wait, lookAgain))
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
				return
			}
		}
		if ctx.Err() != nil {
			return
		}
		do()
	}
}
