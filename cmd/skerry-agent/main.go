// Command skerry-agent runs in a job's environment and does the work of its stages. See package agent.
package main

import (
	"os"

	"gitlab.com/skerry/skerry/internal/agent"
	"gitlab.com/skerry/skerry/internal/stage/worker"
)

func main() {
	os.Exit(agent.Main(os.Args[1:], worker.Run, worker.Terminal))
}
