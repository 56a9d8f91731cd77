package daemon

import (
	"encoding/json"
	"fmt"
	"log/slog"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/shell"
	"gitlab.com/skerry/skerry/internal/plan"
)

const executorShell = "shell"

// Executors lists what this build can run jobs with, for config.Options.
func Executors() []string { return []string{executorShell} }

// newExecutor makes the executor of an effective runner entry, from options that may have been
// journaled by an earlier process.
func newExecutor(r plan.Runner, log *slog.Logger) (executor.Executor, error) {
	switch r.Executor {
	case executorShell:
		var o shell.Options
		if err := json.Unmarshal(r.Options, &o); err != nil {
			return nil, fmt.Errorf("read the journaled options of the shell executor: %w", err)
		}
		return shell.New(o, log), nil
	default:
		return nil, fmt.Errorf("this build has no executor %q; it has: shell", r.Executor)
	}
}
