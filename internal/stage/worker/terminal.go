package worker

import (
	"gitlab.com/skerry/skerry/internal/stage"
	"gitlab.com/skerry/skerry/internal/stage/script"
)

// Terminal is the stage.TerminalFunc of the real agent.
func Terminal(place stage.Place, t *stage.Terminal) (stage.Command, error) {
	return script.Terminal(place, t)
}
