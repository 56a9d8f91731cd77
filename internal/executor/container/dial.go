package container

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"gitlab.com/skerry/skerry/internal/agent"
	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/container/carrier"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
	"gitlab.com/skerry/skerry/internal/executor/sockdir"
)

// Dial implements executor.Environment.
func (v *environment) Dial(ctx context.Context, place executor.Place) (net.Conn, error) {
	s := v.steps[string(place)]
	if err := s.wait(ctx); err != nil {
		return nil, err
	}
	remote := v.b.Agent.Volume != ""
	shortest, longest, look := 500*time.Microsecond, 50*time.Millisecond, time.Now().Add(lookAfter)
	if remote {
		shortest, longest, look = 20*time.Millisecond, time.Second, time.Time{}
	}
	slow := time.Now().Add(slowEntrypoint)
	for pause, failures := shortest, 0; ; pause = min(2*pause, longest) {
		conn, err := v.connect(ctx, place)
		if err == nil {
			if place == executor.Build {
				v.answered.Store(true)
				v.greet.Do(func() { v.showPrelude(ctx) })
			}
			return conn, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if failures++; remote && failures == remoteAttempts || !remote && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ECONNREFUSED) {
			return nil, err
		}
		if time.Now().After(look) {
			look = time.Now().Add(lookEvery)
			if why, err := v.death(ctx, place); err == nil && why != nil {
				return nil, why
			}
			if place == executor.Build && time.Now().After(slow) {
				v.slow.Do(v.tellSlow)
			}
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, context.Cause(ctx)
		}
	}
}

// remoteAttempts is how often a connection through the engine is tried, each waiting for an agent that is to come.
const remoteAttempts = 20

// connect connects to the agent of a place: by its socket or, where that is in the container, through the
// engine. The user there need not be the agent's, whose socket is open to all.
func (v *environment) connect(ctx context.Context, place executor.Place) (net.Conn, error) {
	if v.b.Agent.Volume == "" {
		return sockdir.Dial(ctx, filepath.Join(v.dir, string(place)), "sock/"+agent.SockName)
	}
	engine, err := v.e.host.engine(ctx, v.e.o.Engine)
	if err != nil {
		return nil, err
	}
	return engine.Attach(ctx, v.part(place).Name, "0:0", agent.AttachReady, carrier.Exe, "attach", "wait")
}

func (v *environment) part(place executor.Place) *part {
	if place == executor.Helper {
		return &v.b.Helper
	}
	return &v.b.Build
}

// chooseWay decides how the agent comes into the containers, and writes it down.
func (v *environment) chooseWay(ctx context.Context) error {
	err := v.tryWay(ctx)
	if err == nil || !v.vanished(ctx, err, v.b.helperImage()) {
		return err
	}
	if _, err := v.image(ctx, &v.b.Helper); err != nil {
		return err
	}
	return v.tryWay(ctx)
}

func (v *environment) tryWay(ctx context.Context) error {
	c := &v.e.host.site(v.engine.Address).carrier
	if v.b.Agent == nil {
		var w carrier.Way
		var err error
		if v.e.host.Remote {
			w, err = c.Remote(v.engine, v.carry())
		} else {
			w, err = c.Choose(ctx, v.engine, v.carry(), v.log)
		}
		if err != nil {
			return err
		}
		if err := v.b.note(v.dir, func() { v.b.Agent = &w }); err != nil {
			return err
		}
	}
	if v.b.Agent.Volume == "" {
		return nil
	}
	return c.Fill(ctx, v.engine, v.carry(), *v.b.Agent)
}

// carry is on whose behalf the agent is brought.
func (v *environment) carry() carrier.Job {
	return carrier.Job{
		Beside: v.profiles,
		Agent:  v.e.o.Agent, Dir: v.e.o.Dir, Image: v.b.helperImage(), Labels: ownLabels(v.b.Ref, carrier.PartAgent),
		Probe: map[string]string{labelOwner: string(v.b.Ref.Owner), labelPart: carrier.PartProbe},
	}
}

// startRemote starts a container that holds the agent's state itself.
func (v *environment) startRemote(ctx context.Context, place executor.Place, p *part) error {
	s, err := v.engine.State(ctx, p.Name)
	if err != nil || s.Running {
		return err
	}
	archive, err := carrier.StateArchive(v.config(place))
	if err == nil {
		err = v.engine.CopyInto(ctx, p.Name, "/", archive)
	}
	if err == nil {
		err = v.engine.Start(ctx, p.Name)
	}
	if err == nil || !strings.Contains(err.Error(), carrier.Exe) {
		return err
	}
	// Somebody has removed the volume after it was looked at, and the engine has made an empty one.
	c := &v.e.host.site(v.engine.Address).carrier
	c.Forget(v.b.Agent.Volume)
	if fillErr := c.Fill(ctx, v.engine, v.carry(), *v.b.Agent); fillErr != nil {
		return errors.Join(err, fillErr)
	}
	return v.engine.Start(ctx, p.Name)
}

// When an agent that does not answer makes one look at its container, first and again.
const (
	lookAfter = 300 * time.Millisecond
	lookEvery = 2 * time.Second
)

// Diagnose implements executor.Environment.
func (v *environment) Diagnose(ctx context.Context, place executor.Place) error {
	why, err := v.death(ctx, place)
	if err != nil {
		return err
	}
	return why
}

// death is why a place died; nil while it lives. The error is that of an engine which does not say.
func (v *environment) death(ctx context.Context, place executor.Place) (why, err error) {
	engine, err := v.e.host.engine(ctx, v.e.o.Engine)
	if err != nil {
		return nil, err
	}
	p := v.part(place)
	s, err := engine.State(ctx, p.Name)
	switch {
	case engineapi.IsAbsent(err):
		return fmt.Errorf("the %s container is gone: somebody removed it", place), nil
	case err != nil:
		return nil, err
	case s.Running:
		return nil, nil //nolint:nilnil // documented
	case s.OOMKilled:
		return fmt.Errorf("the %s container ran out of memory and was killed%s", place, limitWords(s.Memory)), nil
	}
	said, err := engine.Logs(ctx, p.Name, 20, 4096)
	if err != nil {
		v.log.Debug("The last words of a container cannot be read", "container", p.Name, "error", err)
	}
	return v.ended(place, p, s, withoutServing(said)), nil
}

func limitWords(limit int64) string {
	if limit <= 0 {
		return ""
	}
	return fmt.Sprintf(" (its limit is %d MiB)", limit>>20)
}
