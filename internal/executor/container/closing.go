package container

import (
	"os"
	"path/filepath"
)

// fileClosing in an environment's directory says that its removal has begun.
const fileClosing = "closing"

// markClosing lets a process that finds the environment half-removed go on with that, and not make
// again what is gone.
func (v *environment) markClosing() {
	if err := os.WriteFile(filepath.Join(v.dir, fileClosing), nil, 0o600); err != nil && !os.IsNotExist(err) {
		v.log.Debug("That an environment is being removed could not be written down", "error", err)
	}
}

func (v *environment) isClosing() bool {
	_, err := os.Lstat(filepath.Join(v.dir, fileClosing))
	return err == nil
}
