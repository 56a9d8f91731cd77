package daemon

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/container"
	"gitlab.com/skerry/skerry/internal/executor/shell"
	"gitlab.com/skerry/skerry/internal/plan"
)

// The executors that this build has. Podman is the container executor, too: the engine says what it is.
const (
	executorShell  = "shell"
	executorDocker = "docker"
	executorPodman = "podman"
)

// Executors lists what this build can run jobs with, for config.Options.
func Executors() []string { return []string{executorShell, executorDocker, executorPodman} }

// newExecutor makes the executor of an effective runner entry, from options that may have been
// journaled by an earlier process.
func newExecutor(r plan.Runner, host *container.Host, log *slog.Logger) (executor.Executor, error) {
	switch r.Executor {
	case executorShell:
		var o shell.Options
		if err := json.Unmarshal(r.Options, &o); err != nil {
			return nil, fmt.Errorf("read the journaled options of the shell executor: %w", err)
		}
		return shell.New(o, log), nil
	case executorDocker, executorPodman:
		var o container.Options
		if err := json.Unmarshal(r.Options, &o); err != nil {
			return nil, fmt.Errorf("read the journaled options of the container executor: %w", err)
		}
		return container.New(o, host, log), nil
	default:
		return nil, fmt.Errorf("this build has no executor %q; it has: %s", r.Executor, strings.Join(Executors(), ", "))
	}
}
