package supervise

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"gitlab.com/skerry/skerry/internal/cli/program"
	"gitlab.com/skerry/skerry/internal/control"
)

// healthTime is for both answers: less than health checks wait, so that the reason is heard.
const healthTime = 8 * time.Second

func newHealth(p *program.Program) *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Say whether runner and Podman answer",
		Long:  "Say whether the runner and the Podman that `supervise` keeps running answer: the exit code is 0 when both do. It is for root and the runner's user.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), healthTime)
			defer cancel()
			if err := health(ctx, o); err != nil {
				return err
			}
			p.Say("runner and engine answer")
			return nil
		},
	}
	o.places(p, cmd)
	return cmd
}

// health says what does not answer.
func health(ctx context.Context, o options) error {
	if err := ping(ctx, o.socket); err != nil {
		return fmt.Errorf("the engine does not answer on %s: %w", o.socket, err)
	}
	c := control.NewClient(o.stateDir)
	defer c.Close()
	if _, err := c.Jobs(ctx); err != nil {
		return fmt.Errorf("the runner does not answer: %w", err)
	}
	return nil
}
