package stage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// Run does the stage that spec describes and returns how it ended; it never panics on a bad spec.
// It may change nothing of spec. What Place's comment says about ctx holds: Run returns soon after
// ctx has ended, and by then every process it started has ended, except what a script left behind.
//
// Exactly one kind of work must be set in spec. Everything is done as the agent's own user. The
// environment of every process is the agent's own, then Spec.Env, a later entry replacing an earlier one.
func Run(ctx context.Context, place Place, spec *Spec) Result {
	r := &run{spec: spec, place: place, log: logger{out: place.Stdout}}
	started := time.Now()
	res := r.run(ctx)
	if err := ctx.Err(); err != nil && res.Reason != Success {
		res.Reason, res.Message = ended(ctx)
	}
	res.Started, res.Ended = started.UnixMicro(), time.Now().UnixMicro()
	return res
}

// run is one stage in hand.
type run struct {
	spec  *Spec
	place Place
	log   logger
	env   environment // of every process of the stage; set by run.run
}

func (r *run) run(ctx context.Context) Result {
	if err := r.prepare(); err != nil {
		return system(err)
	}
	if s := r.spec.Script; s != nil {
		return r.script(ctx, s) // with Pre and Post in the same shell
	}
	hooks := r.spec.Sources == nil || r.spec.Sources.touches()
	if hooks {
		if res := r.hook(ctx, "pre", r.spec.Pre); res.Reason != Success {
			return res
		}
	}
	res := r.work(ctx)
	if res.Reason != Success || !hooks {
		return res
	}
	if post := r.hook(ctx, "post", r.spec.Post); post.Reason != Success {
		post.Archives, post.Caches = res.Archives, res.Caches
		return post
	}
	return res
}

// work is what lies between the hooks.
func (r *run) work(ctx context.Context) Result {
	switch s := r.spec; {
	case s.Sources != nil:
		return r.sources(ctx, s.Sources)
	case s.RestoreCache != nil:
		return r.restoreCache(ctx, s.RestoreCache)
	case s.SaveCache != nil:
		return r.saveCache(ctx, s.SaveCache)
	case s.Unpack != nil:
		return r.unpack(ctx, s.Unpack)
	case s.Pack != nil:
		return r.pack(ctx, s.Pack)
	case s.Remove != nil:
		return r.remove(ctx, s.Remove)
	}
	return system(errors.New("the stage says nothing to do; the runner and its agent may be of different versions"))
}

// prepare makes the environment, the files that variables name, and the working directory.
func (r *run) prepare() error {
	if r.spec.Remove != nil {
		r.env = newEnvironment(os.Environ(), r.spec.Env)
		return nil
	}
	if err := writeVariables(r.spec.Env); err != nil {
		return err
	}
	r.env = newEnvironment(os.Environ(), r.spec.Env)
	if r.spec.Dir == "" {
		return nil
	}
	return makeDir(r.spec.Base, r.spec.Dir)
}

// exec runs one program to its end. The error says that it could not be started or that its output was lost.
func (r *run) exec(ctx context.Context, c Command) (Exit, error) {
	if err := context.Cause(ctx); err != nil {
		return Exit{}, err
	}
	if c.Env == nil {
		c.Env = r.env.list()
	}
	if c.Dir == "" {
		c.Dir = r.spec.Dir
	}
	p, err := r.place.Start(c)
	if err != nil {
		return Exit{}, fmt.Errorf("start %s: %w", c.Path, err)
	}
	watched := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(watched)
		p.End(r.grace())
	})
	e, err := p.Wait()
	if !stop() {
		<-watched
	}
	return e, err
}

func (r *run) grace() time.Duration {
	if r.spec.Grace > 0 {
		return r.spec.Grace
	}
	return 10 * time.Second
}

// lookPath finds a program in the stage's PATH; empty when there is none.
func (r *run) lookPath(name string) string {
	for _, dir := range pathDirs(r.env.get("PATH")) {
		p := dir + "/" + name
		if st, err := os.Stat(p); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return p
		}
	}
	if p, err := exec.LookPath(name); err == nil {
		return p
	}
	return ""
}

// system is the result of a stage that the place is at fault for.
func system(err error) Result {
	return Result{Reason: System, Message: err.Error()}
}

// failed is the result of a program that ended with an exit code other than 0.
func failed(e Exit) Result {
	return Result{Reason: Failed, ExitCode: e.Code, Message: fmt.Sprintf("exit code %d", e.Code)}
}

// ended says why a stage whose context is over has ended.
func ended(ctx context.Context) (Reason, string) {
	cause := context.Cause(ctx)
	if errors.Is(cause, context.DeadlineExceeded) {
		return Timeout, cause.Error()
	}
	return Canceled, cause.Error()
}

// logger writes the runner's own lines into the stage's output, coloured as GitLab Runner's are.
// A failed write is not reported: the spool is at fault, and whoever owns it knows.
type logger struct{ out io.Writer }

// GitLab Runner's colours (helpers/ansi_colors.go).
const (
	boldGreen = "\x1b[32;1m"
	boldRed   = "\x1b[31;1m"
	yellow    = "\x1b[0;33m"
	reset     = "\x1b[0;m"
)

// notice writes a phase, in bold green.
func (l logger) notice(format string, args ...any) {
	l.line(boldGreen + fmt.Sprintf(format, args...) + reset)
}

// warn writes a warning, in yellow.
func (l logger) warn(format string, args ...any) {
	l.line(yellow + fmt.Sprintf(format, args...) + reset)
}

// plain writes a line without a colour of its own.
func (l logger) plain(format string, args ...any) {
	l.line(fmt.Sprintf(format, args...))
}

func (l logger) line(s string) { _, _ = io.WriteString(l.out, s+"\n") }
