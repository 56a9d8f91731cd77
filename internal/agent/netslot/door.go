package netslot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"

	"gitlab.com/skerry/skerry/internal/socketfile"
)

// Door is where the container that holds the namespace shares a directory with the runner, if it does: there Pause
// listens and answers what is else asked by exec, which costs an engine more than all the rest of a job's end.
const (
	Door     = "/.skerry/door"
	DoorSock = "slot.sock"
)

// reply is the answer to a request over the door's socket, one each for a connection.
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

// wait waits until ctx ends, and answers at the door where a directory is shared. One that cannot be opened (SELinux, say) is
// no reason to end, and with that a job's network: the runner asks by exec then.
func wait(ctx context.Context, dir, birth, hosts string, words io.Writer) {
	if _, err := os.Stat(dir); err == nil {
		if err := openDoor(ctx, dir, birth, hosts); err != nil {
			fmt.Fprintln(words, err)
		}
	}
	<-ctx.Done()
}

// openDoor answers at the door until ctx ends.
func openDoor(ctx context.Context, dir, birth, hosts string) error {
	l, err := socketfile.Listen(filepath.Join(dir, DoorSock), 0o777) // only the runner can enter the directory's parent
	if err != nil {
		return fmt.Errorf("open the network's door: %w", err)
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
	out, err := q.do(ctx, birth, hosts)
	var r reply
	if err == nil {
		r.Out, err = json.Marshal(out)
	}
	if err != nil {
		r.Error = err.Error()
	}
	_ = json.NewEncoder(conn).Encode(r) // who does not wait for it does without
}
