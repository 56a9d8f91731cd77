package carrier

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
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

// prove finds out whether containers of the engine share directories and the kernel with this process: one
// that has a directory of ours mounted runs the agent from another, reads what we wrote and says it on a
// socket there. why is nil when they do. An engine that cannot be reached, or has lost the
// image meanwhile, proves nothing.
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
	}
	switch {
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

// awaitNonce waits for a probe's word. However slow the machine is, one that has said that it listens can be connected to by whoever
// shares its kernel and the directory; one that has not, and runs, is waited for. It does not run for long.
func awaitNonce(ctx context.Context, state, nonce string, look func() (looks, error)) (why, err error) {
	listens, next := false, time.Now().Add(lookAfter)
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		conn, err := sockdir.Dial(ctx, state, agent.ProbeSocket)
		if err == nil {
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(answerWithin))
			said, err := io.ReadAll(io.LimitReader(conn, int64(len(nonce))+1))
			if err != nil || string(said) != nonce {
				return errors.New("a container with a directory of this machine does not say what is in it"), nil
			}
			return nil, nil //nolint:nilnil // proved
		}
		if listens {
			return errors.New("a container with a directory of this machine does not answer on a socket there"), nil
		}
		if time.Now().After(next) {
			next = time.Now().Add(lookAfter)
			now, err := look()
			switch {
			case engineapi.IsUnreachable(err), engineapi.IsSilent(err):
				return nil, err
			case err != nil:
				return err, nil
			case !now.running:
				return fmt.Errorf("a container with a directory of this machine ended with exit code %d %s", now.code, now.said), nil
			}
			if listens = strings.Contains(now.said, agent.ProbeListens); listens {
				continue
			}
		}
		if err := sleep(ctx, pause); err != nil {
			return nil, err
		}
	}
}
