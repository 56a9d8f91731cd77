package netslot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
)

// Door is where the container that holds the namespace shares a directory with the runner, if it does: there Pause
// listens and answers what is else asked by exec, which costs an engine more than all the rest of a job's end.
const (
	Door     = "/.skerry/door"
	DoorSock = "slot.sock"
)

// request and reply are what goes over the door's socket, one each for a connection.
type request struct {
	Command string `json:"command"` // CommandLook or CommandUp
	Ask     *Ask   `json:"ask,omitempty"`
}

type reply struct {
	Out   json.RawMessage `json:"out,omitempty"` // what the command prints
	Error string          `json:"error,omitempty"`
}

// Call asks over a connection to the door and returns what the command prints. ask is that of CommandUp, else nil. It
// closes the connection.
func Call(ctx context.Context, conn net.Conn, command string, ask *Ask) (json.RawMessage, error) {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	err := json.NewEncoder(conn).Encode(request{command, ask})
	var r reply
	if err == nil {
		err = json.NewDecoder(conn).Decode(&r)
	}
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil:
		return nil, fmt.Errorf("ask the holder of the network: %w", err)
	case r.Error != "":
		return nil, errors.New(r.Error)
	}
	return r.Out, nil
}

// openDoor answers at the door until ctx ends; without a shared directory it only waits.
func openDoor(ctx context.Context, dir, birth, hosts string) error {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		<-ctx.Done()
		return nil
	}
	path := filepath.Join(dir, DoorSock)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("open the network's door: %w", err)
	}
	l, err := new(net.ListenConfig).Listen(ctx, "unix", path)
	if err != nil {
		return fmt.Errorf("open the network's door: %w", err)
	}
	if err := os.Chmod(path, 0o777); err != nil { //nolint:gosec // only the runner can enter the directory's parent
		return errors.Join(err, l.Close())
	}
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	var visitors sync.WaitGroup
	defer visitors.Wait()
	for {
		conn, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("the network's door: %w", err)
		}
		visitors.Go(func() { answer(ctx, conn, birth, hosts) })
	}
}

func answer(ctx context.Context, conn net.Conn, birth, hosts string) {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	var q request
	if json.NewDecoder(conn).Decode(&q) != nil {
		return
	}
	var out any
	var err error
	switch {
	case q.Command == CommandLook:
		out, err = compare(birth, hosts)
	case q.Command == CommandUp && q.Ask != nil:
		out = up(ctx, *q.Ask, hosts)
	default:
		err = fmt.Errorf("nobody here knows %q", q.Command)
	}
	var r reply
	if err == nil {
		r.Out, err = json.Marshal(out)
	}
	if err != nil {
		r.Error = err.Error()
	}
	_ = json.NewEncoder(conn).Encode(r) // who does not wait for it does without
}
