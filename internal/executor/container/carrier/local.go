package carrier

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"

	"gitlab.com/skerry/skerry/internal/agent"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
	"gitlab.com/skerry/skerry/internal/executor/sockdir"
)

// lookAfter is when a probe that does not answer makes one look at its container.
const lookAfter = 300 * time.Millisecond

// answerWithin is how long a probe that has been reached may take to say what it has to.
const answerWithin = 30 * time.Second

// ProbePrefix begins the names of probes' directories among those of environments.
const ProbePrefix = ".probe-"

// isLocal is what has been proved of the engine, once and for all; prove does it where nobody has yet, one at a time.
func (c *Carrier) isLocal(ctx context.Context, prove func() (why, err error)) (bool, error) {
	known := func() (proved, local bool) {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.proved, c.local
	}
	if proved, local := known(); proved {
		return local, nil
	}
	if err := c.proving.take(ctx); err != nil {
		return false, err
	}
	defer c.proving.leave()
	if proved, local := known(); proved { // by another job meanwhile
		return local, nil
	}
	why, err := prove()
	if err != nil {
		return false, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.proved, c.local = true, why == nil
	return c.local, nil
}

// prove finds out whether containers of the engine share directories and the kernel with this process: one
// that has a directory of ours mounted runs the agent from another, reads what we wrote and says it on a
// socket there. why is nil when they do. An engine that cannot be reached, or has lost the
// image meanwhile, proves nothing, nor does a probe that is given up.
func (c *Carrier) prove(ctx context.Context, e *engineapi.Engine, j Job) (why, err error) {
	b := make([]byte, 12)
	_, _ = rand.Read(b) // never fails, crypto/rand
	nonce := hex.EncodeToString(b)
	dir := filepath.Join(j.Dir, ProbePrefix+nonce[:8])
	defer os.RemoveAll(dir)
	state := filepath.Join(dir, "state")
	err = os.MkdirAll(state, 0o700)
	if err == nil {
		err = os.Chmod(state, 0o777|fs.ModeSticky)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(state, agent.ProbeNonce), []byte(nonce), 0o644) //nolint:gosec // the container's user is unknown
	}
	if err != nil {
		return nil, fmt.Errorf("find out whether the engine is local: %w", err)
	}
	name := "skerry-probe-" + nonce[:8]
	c.probes.Store(name, true)
	create := client.ContainerCreateOptions{
		Name:   name,
		Config: &container.Config{Image: j.Image, User: "0:0", Entrypoint: []string{Exe, "probe"}, Labels: j.Probe},
		HostConfig: &container.HostConfig{
			NetworkMode: "none", SecurityOpt: []string{"no-new-privileges"}, LogConfig: container.LogConfig{Type: "json-file"}, // which can be read
			Mounts: []mount.Mount{Way{}.Mount(j.Agent), {Type: mount.TypeBind, Source: state, Target: State}},
		},
	}
	making, cancel := whole(ctx)
	defer cancel()
	_, err = e.Create(making, create)
	if err == nil {
		defer c.remove(ctx, e, name)
		err = e.Start(making, name)
	} else {
		c.probes.Delete(name)
	}
	switch {
	case err != nil && making.Err() != nil: // it has not answered
		return nil, err
	case engineapi.IsUnreachable(err), engineapi.IsSilent(err), engineapi.IsAbsent(err): // the image has gone
		return nil, err
	case err != nil:
		return err, nil
	}
	return awaitNonce(ctx, state, nonce, func() (looks, error) {
		s, err := e.State(ctx, name)
		if err != nil {
			return looks{}, err
		}
		said, err := e.Logs(ctx, name, 5, 1024)
		if engineapi.IsUnreachable(err) || engineapi.IsSilent(err) {
			return looks{}, err
		}
		return looks{running: s.Running, code: s.ExitCode, said: said}, nil
	})
}

// looks is what an engine says of a probe.
type looks struct {
	running bool
	code    int // when it does not run any more
	said    string
}

// dials is how often a probe is tried to connect to that listens, and dialAfter the time between two.
const (
	dials     = 5
	dialAfter = 50 * time.Millisecond
)

// awaitNonce waits for a probe's word. However slow the machine is, one that has said that it listens can be connected to by whoever
// shares its kernel and the directory; one that has not, and runs, is waited for. It does not run for long. When ctx ends nothing is
// proved, whatever fails for it: the error is the cause.
func awaitNonce(ctx context.Context, state, nonce string, look func() (looks, error)) (why, err error) {
	tried, listens, next := 0, false, time.Now().Add(lookAfter)
	for pause := time.Millisecond; ; pause = min(2*pause, dialAfter) {
		conn, err := sockdir.Dial(ctx, state, agent.ProbeSocket)
		if err == nil {
			stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
			why := hear(conn, nonce)
			if !stop() && why != nil {
				return nil, context.Cause(ctx)
			}
			return why, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if listens {
			tried++
			pause = dialAfter
		}
		switch {
		case tried >= dials && lacking(err):
			return nil, fmt.Errorf("find out whether the engine is local: %w", err)
		case tried >= dials:
			return fmt.Errorf("a container with a directory of this machine does not answer on a socket there: %w", err), nil
		case !listens && time.Now().After(next):
			next = time.Now().Add(lookAfter)
			var why error
			if listens, why, err = ready(ctx, look); why != nil || err != nil {
				return why, err
			}
			if listens {
				continue
			}
		}
		if err := sleep(ctx, pause); err != nil {
			return nil, err
		}
	}
}

// ready looks at a probe: whether it listens, or why it never will here.
func ready(ctx context.Context, look func() (looks, error)) (listens bool, why, err error) {
	now, err := look()
	switch {
	case ctx.Err() != nil:
		return false, nil, context.Cause(ctx)
	case engineapi.IsUnreachable(err), engineapi.IsSilent(err):
		return false, nil, err
	case err != nil:
		return false, err, nil
	case !now.running:
		return false, fmt.Errorf("a container with a directory of this machine ended with exit code %d %s", now.code, now.said), nil
	default:
		return strings.Contains(now.said, agent.ProbeListens), nil, nil
	}
}

// hear is why what a probe says is not what was written for it.
func hear(conn net.Conn, nonce string) error {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(answerWithin))
	said, err := io.ReadAll(io.LimitReader(conn, int64(len(nonce))+1))
	if err != nil || string(said) != nonce {
		return errors.New("a container with a directory of this machine does not say what is in it")
	}
	return nil
}

// lacking reports that this machine had no room for a connection, which says nothing of the other side.
func lacking(err error) bool {
	for _, e := range []error{syscall.EAGAIN, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.ENOBUFS, syscall.EINTR} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
