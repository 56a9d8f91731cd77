// Package worker does stages: it prepares the environment and the directory that a Spec names and hands
// the work to the package for its kind.
package worker

import (
	"context"
	"errors"
	"os"
	"time"

	"gitlab.com/skerry/skerry/internal/stage"
	"gitlab.com/skerry/skerry/internal/stage/files"
	"gitlab.com/skerry/skerry/internal/stage/script"
	"gitlab.com/skerry/skerry/internal/stage/sources"
	"gitlab.com/skerry/skerry/internal/stage/task"
	"gitlab.com/skerry/skerry/internal/stage/tree"
)

// Run does the stage that spec describes and returns how it ended; it never panics on a bad spec.
// It may change nothing of spec. What Place's comment says about ctx holds: Run returns soon after
// ctx has ended, and by then every process it started has ended, except what a script left behind.
//
// Exactly one kind of work must be set in spec. Everything is done as the agent's own user. The
// environment of every process is the agent's own, then Spec.Env, a later entry replacing an earlier one.
func Run(ctx context.Context, place stage.Place, spec *stage.Spec) stage.Result {
	tk := &task.Task{Spec: spec, Place: place, Log: task.Log{Out: place.Stdout}}
	started := time.Now()
	res := carryOut(ctx, tk)
	if err := ctx.Err(); err != nil && res.Reason != stage.Success {
		res.Reason, res.Message = ended(ctx)
	}
	res.Started, res.Ended = started.UnixMicro(), time.Now().UnixMicro()
	return res
}

func carryOut(ctx context.Context, tk *task.Task) stage.Result {
	if err := prepare(tk); err != nil {
		return task.System(err)
	}
	if s := tk.Spec.Script; s != nil {
		return script.Run(ctx, tk, s) // with Pre and Post in the same shell
	}
	hooks := tk.Spec.Sources == nil || sources.Touches(tk.Spec.Sources)
	if hooks {
		if s := tk.Spec.Sources; s != nil && len(tk.Spec.Pre) > 0 {
			if err := sources.Disarm(tk, s); err != nil {
				return task.System(err)
			}
		}
		if res := script.Hook(ctx, tk, "pre", tk.Spec.Pre); res.Reason != stage.Success {
			return res
		}
	}
	res := work(ctx, tk)
	if res.Reason != stage.Success || !hooks {
		return res
	}
	if post := script.Hook(ctx, tk, "post", tk.Spec.Post); post.Reason != stage.Success {
		post.Archives, post.Caches = res.Archives, res.Caches
		return post
	}
	return res
}

// work is what lies between the hooks.
func work(ctx context.Context, tk *task.Task) stage.Result {
	switch s := tk.Spec; {
	case s.Sources != nil:
		return sources.Get(ctx, tk, s.Sources)
	case s.RestoreCache != nil:
		return files.RestoreCache(ctx, tk, s.RestoreCache)
	case s.SaveCache != nil:
		return files.SaveCache(ctx, tk, s.SaveCache)
	case s.Unpack != nil:
		return files.Unpack(ctx, tk, s.Unpack)
	case s.Pack != nil:
		return files.Pack(ctx, tk, s.Pack)
	case s.Remove != nil:
		return remove(ctx, tk, s.Remove)
	case s.Own != nil:
		return own(ctx, s.Base, s.Own)
	}
	return task.System(errors.New("the stage says nothing to do; the runner and its agent may be of different versions"))
}

// prepare makes the environment, the files that variables name, and the working directory.
func prepare(tk *task.Task) error {
	if tk.Spec.Remove != nil || tk.Spec.Own != nil {
		tk.Env = task.NewEnv(os.Environ(), tk.Spec.Env)
		return nil
	}
	if err := task.WriteVariables(tk.Spec); err != nil {
		return err
	}
	tk.Env = task.NewEnv(os.Environ(), tk.Spec.Env)
	if tk.Spec.Dir == "" {
		return nil
	}
	return tree.Make(tk.Spec.Base, tk.Spec.Dir)
}

// ended says why a stage whose context is over has ended.
func ended(ctx context.Context) (stage.Reason, string) {
	cause := context.Cause(ctx)
	if errors.Is(cause, context.DeadlineExceeded) {
		return stage.Timeout, cause.Error()
	}
	return stage.Canceled, cause.Error()
}
