// Package task is what the kinds of stage have in common while one is in hand: its environment, its
// processes, its lines in the log, and how its result is said.
package task

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"time"

	"gitlab.com/skerry/skerry/internal/stage"
)

// Task is one stage in hand. The kinds of stage use it from one goroutine.
type Task struct {
	Spec  *stage.Spec
	Place stage.Place
	Log   Log
	Env   Env // of every process of the stage
}

// Exec runs one program to its end. Variables that are too long for exec are left out. The error says that it could not be started or that its output was lost.
func (tk *Task) Exec(ctx context.Context, c stage.Command) (stage.Exit, error) {
	if err := context.Cause(ctx); err != nil {
		return stage.Exit{}, err
	}
	if c.Env == nil {
		c.Env = tk.Env.List()
	}
	c.Env = fitting(c.Env)
	if c.Dir == "" {
		c.Dir = tk.Spec.Dir
	}
	p, err := tk.Place.Start(c)
	if err != nil {
		return stage.Exit{}, fmt.Errorf("start %s: %w", c.Path, err)
	}
	watched := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(watched)
		p.End(tk.grace())
	})
	e, err := p.Wait()
	if !stop() {
		<-watched
	}
	return e, err
}

func (tk *Task) grace() time.Duration {
	if tk.Spec.Grace > 0 {
		return tk.Spec.Grace
	}
	return 10 * time.Second
}

// LookPath finds a program in the stage's PATH; empty when there is none.
func (tk *Task) LookPath(name string) string {
	for _, dir := range pathDirs(tk.Env.Get("PATH")) {
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

// System is the result of a stage that the place is at fault for.
func System(err error) stage.Result {
	return stage.Result{Reason: stage.System, Message: err.Error()}
}

// Failed is the result of a program that ended with an exit code other than 0.
func Failed(e stage.Exit) stage.Result {
	return stage.Result{Reason: stage.Failed, ExitCode: e.Code, Message: fmt.Sprintf("exit code %d", e.Code)}
}
