package container

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"

	"gitlab.com/skerry/skerry/internal/agent"
	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/container/carrier"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
	"gitlab.com/skerry/skerry/internal/stage/tree"
)

// removeDir removes what the runner itself has of the environment, the record last.
func (v *environment) removeDir(ctx context.Context) error {
	var stubborn []executor.Place
	var errs []error
	for _, place := range []executor.Place{executor.Helper, executor.Build, nestedDir, partReader, partMaker} {
		err := tree.RemoveAll(filepath.Join(v.dir, string(place)))
		if errors.Is(err, fs.ErrPermission) {
			stubborn = append(stubborn, place)
			continue
		}
		errs = append(errs, err)
	}
	if len(stubborn) > 0 {
		errs = append(errs, v.sweep(ctx, stubborn))
		for _, place := range stubborn {
			errs = append(errs, os.RemoveAll(filepath.Join(v.dir, string(place))))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove the environment: %w", err)
	}
	err := v.e.vacate(v.b.Ref)
	if err == nil {
		err = os.RemoveAll(v.dir)
	}
	if err == nil {
		v.e.host.ended(v.b.Ref)
	}
	if err != nil {
		return fmt.Errorf("remove the environment: %w", err)
	}
	return nil
}

// sweepTime bounds one sweep.
const sweepTime = time.Minute

// sweep empties the directories of places whose files belong to users that are not the runner's to command: those
// of a rootless engine's containers, or of the machine's engine when the runner is not root. Root in a container
// of the same engine may.
func (v *environment) sweep(ctx context.Context, places []executor.Place) error {
	ctx, cancel := context.WithTimeout(ctx, sweepTime)
	defer cancel()
	if err := v.engineToClose(ctx); err != nil {
		return fmt.Errorf("remove files of other users: %w", err)
	}
	image, err := v.anyImage(ctx)
	if err != nil {
		return fmt.Errorf("remove files of other users: %w", err)
	}
	name := containerName(v.b.Ref, "sweep")
	o := client.ContainerCreateOptions{
		Name: name,
		Config: &container.Config{
			Image: image, User: "0:0", Entrypoint: []string{agentExe, agent.CommandSweep}, Labels: ownLabels(v.b.Ref, "sweep"),
		},
		HostConfig: &container.HostConfig{
			NetworkMode: "none",
			Mounts:      []mount.Mount{carrier.Way{}.Mount(v.e.o.Agent)},
		},
	}
	for _, place := range places {
		o.HostConfig.Mounts = append(o.HostConfig.Mounts, mount.Mount{
			Type: mount.TypeBind, Source: filepath.Join(v.dir, string(place)), Target: agentState + "/" + string(place),
		})
	}
	if v.engine.Kind == engineapi.Docker { // Podman's own choice sees all users that its other choices map
		o.HostConfig.UsernsMode = container.UsernsMode(v.e.o.Build.UsernsMode)
	}
	// What an earlier sweep left may be of any age.
	if err := v.engine.Remove(ctx, name); err != nil {
		return err
	}
	if _, err := v.engine.Create(ctx, o); err != nil {
		return err
	}
	err = v.engine.Start(ctx, name)
	if err == nil {
		err = v.swept(ctx, name)
	}
	return errors.Join(err, v.engine.Remove(context.WithoutCancel(ctx), name))
}

// swept waits until the sweep is over.
func (v *environment) swept(ctx context.Context, name string) error {
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		s, err := v.engine.State(ctx, name)
		if err != nil {
			return err
		}
		if !s.Running && !s.Created {
			if s.ExitCode == 0 {
				return nil
			}
			said, _ := v.engine.Logs(ctx, name, 20, 4096)
			return fmt.Errorf("remove files of other users: exit code %d: %s%s", s.ExitCode, s.Error, said)
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		}
	}
}

// anyImage is an image that the engine has: our agent runs in every one.
func (v *environment) anyImage(ctx context.Context) (string, error) {
	for _, ref := range []string{v.b.Helper.Image, v.b.Build.Image} {
		if ref == "" {
			continue
		}
		if _, err := v.engine.Image(ctx, ref); err == nil {
			return ref, nil
		}
	}
	ref, _, err := v.e.host.helper(ctx, v.engine, true, io.Discard)
	return ref, err
}
