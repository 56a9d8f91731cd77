package wire

import "fmt"

// older is how many minor versions before its own a runner still drives.
const older = 2

// VersionError says that runner and agent do not understand each other.
type VersionError struct {
	Runner, Agent int // their protocols, 100*major+minor
}

func (e *VersionError) Error() string {
	// The agent stays the one its job was started with, so it is the runner that has to change.
	if e.Agent > e.Runner {
		return fmt.Sprintf("the job's agent speaks protocol %s, which is newer than the %s of this runner: the job was started by a newer version; "+
			"start that one again, or let it drain its jobs before going back", version(e.Agent), version(e.Runner))
	}
	return fmt.Sprintf("the job's agent speaks protocol %s, which is too old for this runner's %s: the job was started by a version too long ago; "+
		"update in smaller steps, or let the old version drain its jobs first", version(e.Agent), version(e.Runner))
}

func version(protocol int) string { return fmt.Sprintf("%d.%d", protocol/100, protocol%100) }

// Compatible says whether a runner of one protocol drives an agent of another: it does when both have the
// same major version and the agent's minor version is the runner's or one of the two before it.
// Otherwise the error is a *VersionError. An agent may claim any number.
func Compatible(runner, agent int) error {
	if agent <= 0 || agent/100 != runner/100 || agent > runner || runner-agent > older {
		return &VersionError{Runner: runner, Agent: agent}
	}
	return nil
}
