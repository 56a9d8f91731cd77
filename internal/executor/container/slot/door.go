package slot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"gitlab.com/skerry/skerry/internal/agent/netslot"
	"gitlab.com/skerry/skerry/internal/executor/sockdir"
)

func (k Kind) door(name string) string { return filepath.Join(k.Doors, name) }

// makeDoor makes the directory in which a slot's holder answers. Root in the holder may be anybody here, and has no
// right to write where others may: so all may, in a directory that only the runner can enter.
func (k Kind) makeDoor(name string) error {
	if k.Doors == "" {
		return nil
	}
	err := os.MkdirAll(k.Doors, 0o700)
	if err == nil {
		err = os.Mkdir(k.door(name), 0o700)
	}
	if err == nil || errors.Is(err, fs.ErrExist) {
		err = os.Chmod(k.door(name), 0o777|fs.ModeSticky)
	}
	if err != nil {
		return fmt.Errorf("make a network for the job: %w", err)
	}
	return nil
}

// RemoveDoor removes what a slot had beneath doors. Nothing is no error.
func RemoveDoor(doors, name string) error {
	if doors == "" || name == "" || filepath.Base(name) != name {
		return nil
	}
	if err := os.RemoveAll(filepath.Join(doors, name)); err != nil {
		return fmt.Errorf("remove a job's network: %w", err)
	}
	return nil
}

// ask has the slot's holder do something: at its door, or through the engine where it has none, or has not opened it.
func (p *Pool) ask(ctx context.Context, s Slot, command string, ask *netslot.Ask) ([]byte, error) {
	if p.kind.Doors != "" {
		if conn, err := sockdir.Dial(ctx, p.kind.door(s.Name), netslot.DoorSock); err == nil {
			return netslot.Call(ctx, conn, command, ask)
		}
	}
	line := []string{"/.skerry/bin/agent", command}
	if ask != nil {
		raw, err := json.Marshal(ask)
		if err != nil {
			return nil, err
		}
		line = append(line, string(raw))
	}
	return p.engine.Exec(ctx, s.Name, "0:0", line...)
}
