package peer

import (
	"context"
	"fmt"

	"gitlab.com/skerry/skerry/internal/cli/doctor/finding"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
	nested "gitlab.com/skerry/skerry/internal/image"
)

// Nested checks that jobs can have engines of their own (nested) by an engine: it has their image, in which newuidmap and
// newgidmap have file capabilities. ours is the name of the image that program, as this one is called, makes; others are pulled when the
// first job comes.
func Nested(e *Engine, program, image, ours string) finding.Check {
	return finding.Check{Name: "nested", About: "image " + image, Look: func(ctx context.Context) finding.Result {
		ctx, cancel := context.WithTimeout(ctx, within)
		defer cancel()
		c := e.Connection()
		if c == nil {
			return finding.Skip("the engine could not be asked")
		}
		bad := finding.Result{Severity: finding.Failure, Why: "jobs of these runners that have an engine of their own (nested) fail before they begin"}
		build := func(from string) finding.Command {
			line := finding.Command{program, "image", "build", "podman", "--host", c.Address.Host, "--from", from}
			if image != ours {
				line = append(line, "--tag", image)
			}
			return line
		}
		i, err := c.Image(ctx, image)
		switch {
		case err == nil && i.Labels[nested.LabelNested] != "":
			return finding.OK("the engine has it, made for engines of jobs")
		case err == nil:
			bad.Severity, bad.What = finding.Warning, fmt.Sprintf("%s is not made by `%s image build podman`", image, program)
			bad.Why = "newuidmap and newgidmap may have no file capabilities there: engines of jobs do not come up then; and a program that is setuid makes nested containers root of the engine's"
			bad.Mend = []finding.Command{build(image)}
			return bad
		case !engineapi.IsAbsent(err):
			return finding.Skip("%s", oneLine(err))
		case image != ours:
			return finding.Skip("the engine does not have it yet, and pulls it for the first job")
		}
		bad.What = fmt.Sprintf("the engine has no image %s, of which the engines of jobs are made", image)
		bad.Mend = []finding.Command{build("quay.io/podman/stable")}
		return bad
	}}
}
