package container

import (
	"context"

	"gitlab.com/skerry/skerry/internal/executor/container/slot"
)

// makeNetwork takes a slot that nobody uses, or makes one. Which one is written down first.
func (v *environment) makeNetwork(ctx context.Context, need *step) error {
	if v.b.Network != "" {
		return nil
	}
	if err := need.wait(ctx); err != nil {
		return err
	}
	mac, err := v.mac()
	if err != nil {
		return err
	}
	v.pool = v.e.host.pool(v.engine, v.e.o.kind(v.b, mac), v.log)
	if v.b.Slot == "" {
		s, there := v.pool.Take(ctx)
		if !there && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if !there {
			s.Name = slot.NewName(string(v.b.Ref.Owner))
		}
		if err := v.b.note(v.dir, func() { v.b.Slot = s.Name }); err != nil {
			return err
		}
		if there {
			v.slot = s
			return nil
		}
	}
	ctx, cancel := whole(ctx)
	defer cancel()
	v.slot, err = v.pool.Make(ctx, v.b.Slot)
	if err == nil || !v.vanished(ctx, err, v.b.helperImage()) {
		return err
	}
	if _, err = v.image(ctx, &v.b.Helper); err != nil {
		return err
	}
	v.pool = v.e.host.pool(v.engine, v.e.o.kind(v.b, mac), v.log)
	v.slot, err = v.pool.Make(ctx, v.b.Slot)
	return err
}

// reusable reports whether the job's network may be another one's after it has been looked at.
func (v *environment) reusable() bool { return v.slot.Network != "" && v.e.o.Build.harmless() }
