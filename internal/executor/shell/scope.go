package shell

import (
	"context"
	"errors"
	"fmt"
	"os"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/scope"
)

// leave moves an agent out of the runner's control group, so that stopping the runner's service does
// not end it. about tells people whose agent it is.
func leave(ctx context.Context, ref executor.Ref, about string, pid int) error {
	return scope.Unit{Name: "skerry-job-" + ref.ID + ".scope", About: about, Group: siblingName(ref.Owner)}.Leave(ctx, pid)
}

// siblingName is the control group of an installation's agents, where there is no systemd.
func siblingName(owner executor.OwnerID) string { return "skerry-jobs-" + string(owner) }

// Survives reports why jobs would not outlive the runner, nil when they do.
func (e *Executor) Survives(ctx context.Context) error {
	if os.Getpid() == 1 {
		return errors.New("the runner is the first process of its container, which ends with it")
	}
	if service, err := scope.InService(); err != nil || !service {
		return err // nobody ends the control group with the runner
	}
	ctx, cancel := context.WithTimeout(ctx, scope.Within)
	defer cancel()
	conn, err := scope.Reach(ctx)
	if err != nil {
		return fmt.Errorf("systemd cannot be asked for a scope for each job: %w", err)
	}
	conn.Close()
	return nil
}
