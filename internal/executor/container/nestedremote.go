package container

import (
	"context"
	"encoding/json"
	"fmt"
	"path"

	"github.com/moby/moby/api/types/mount"

	"gitlab.com/skerry/skerry/internal/agent/nested"
	"gitlab.com/skerry/skerry/internal/executor/container/carrier"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
	"gitlab.com/skerry/skerry/internal/executor/container/seccomp"
	"gitlab.com/skerry/skerry/internal/image"
)

// What is other where the engine shares no directories with the runner, as that of another machine, or of another user in the
// runner's own image: the directory of the socket is a volume, Podman finds the profile in the volume of the agent, and the
// agent in the container is asked whether the engine answers.

// remote reports whether the engine shares no directories with the runner. It is known when the way is.
func (v *environment) remote() bool { return v.b.Agent.Volume != "" }

// nestedDoor is the volume for the engine's socket.
func (v *environment) nestedDoor() string { return containerName(v.b.Ref, "nested-socket") }

// nestedDoorMount is that volume where the socket is.
func (v *environment) nestedDoorMount(readOnly bool) mount.Mount {
	return mount.Mount{
		Type: mount.TypeVolume, Source: v.nestedDoor(), Target: path.Dir(image.NestedSocket), ReadOnly: readOnly, VolumeOptions: &mount.VolumeOptions{NoCopy: true},
	}
}

// makeDoor makes the volume for the engine's socket.
func (v *environment) makeDoor(ctx context.Context) error {
	ctx, cancel := whole(ctx)
	defer cancel()
	return v.engine.VolumeWith(ctx, engineapi.VolumeOptions{Name: v.nestedDoor(), Labels: ownLabels(v.b.Ref, partVolume)})
}

// profiles are the files beside the agent in its volume: all that engines of jobs may be confined by, since the volume is that of all jobs. Docker
// is given its own in the request.
func (v *environment) profiles() (files []carrier.Entry, err error) {
	if v.engine.Kind == engineapi.Docker {
		return nil, nil
	}
	for _, p := range []seccomp.Profile{seccomp.Nested(v.engine.Arch, false), seccomp.Nested(v.engine.Arch, true)} {
		text, err := json.Marshal(p)
		if err != nil {
			return nil, err
		}
		files = append(files, carrier.Entry{Name: seccomp.FileName(text), Mode: 0o644, Content: text})
	}
	return files, nil
}

// findProfile asks where Podman finds profiles.
func (v *environment) findProfile(ctx context.Context) error {
	if v.engine.Kind == engineapi.Docker {
		return nil
	}
	dir, err := v.engine.VolumeDir(ctx, v.b.Agent.Volume)
	if err == nil && dir == "" {
		err = fmt.Errorf("the engine does not say where it has the volume %s", v.b.Agent.Volume)
	}
	if err != nil {
		return fmt.Errorf("find the seccomp profile for the job's own engine: %w", err)
	}
	v.profileDir = dir
	return nil
}

// fitNested makes the container of the job's own engine, which does not run yet, fit for it: its user may write where the socket is to be,
// and maps no more ids than the container has, which are too few for the whole of them in the runner's own image of a user with the usual 65,536.
func (v *environment) fitNested(ctx context.Context) error {
	door, dir := path.Split(path.Dir(image.NestedSocket))
	entry := carrier.Entry{Name: dir, Mode: 0o1777, Dir: true}
	if v.engine.Kind == engineapi.Podman { // which has no volume mounted for a path above it
		door, entry.Name = path.Dir(image.NestedSocket), "."
	}
	if err := v.copyInto(ctx, door, entry); err != nil {
		return err
	}
	if v.engine.Kind != engineapi.Podman || !v.engine.Rootless {
		return nil
	}
	users, groups, err := v.engine.IDs(ctx)
	if err != nil {
		return err
	}
	var files []carrier.Entry
	for _, f := range []struct {
		name string
		ids  int
	}{{"subgid", groups}, {"subuid", users}} {
		if f.ids == 0 || f.ids >= image.NestedIDs {
			continue
		}
		ranges, err := image.NestedRanges(f.ids)
		if err != nil {
			return err
		}
		files = append(files, carrier.Entry{Name: f.name, Mode: 0o644, Content: []byte(ranges)})
	}
	return v.copyInto(ctx, "/etc", files...)
}

func (v *environment) copyInto(ctx context.Context, dir string, entries ...carrier.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	archive, err := carrier.Pack(entries...)
	if err != nil {
		return err
	}
	return v.engine.CopyInto(ctx, v.b.Nested.Name, dir, archive)
}

// awaitNestedThere waits in the container until the job's own engine answers, or has ended.
func (v *environment) awaitNestedThere(ctx context.Context) error {
	waiting, cancel := context.WithTimeoutCause(ctx, nestedTime, fmt.Errorf("it does not answer within %s", nestedTime))
	defer cancel()
	_, err := v.engine.Exec(waiting, v.b.Nested.Name, fmt.Sprintf("%d:%d", image.NestedUID, image.NestedUID), agentExe, nested.CommandAwait, image.NestedSocket)
	if err == nil || ctx.Err() != nil {
		return err
	}
	if waiting.Err() != nil {
		err = context.Cause(waiting)
	}
	if ended := v.nestedEnded(ctx); ended != nil {
		return ended
	}
	said, _ := v.engine.Logs(ctx, v.b.Nested.Name, lastServiceLines, lastServiceBytes)
	return v.nestedLacks(err, said)
}
