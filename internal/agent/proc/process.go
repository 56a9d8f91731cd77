package proc

import (
	"os"
	"syscall"
	"time"

	"gitlab.com/skerry/skerry/internal/stage"
)

// Process is a process of a group. It implements stage.Process.
type Process struct {
	g     *Group
	child *child
	done  chan struct{} // ended, and its output copied
	err   error         // of the writers; valid once done is closed
}

var _ stage.Process = (*Process)(nil)

// Start starts a process as stage.Command describes it.
func (g *Group) Start(c stage.Command) (*Process, error) {
	st := stdio{}
	defer st.release()
	in, err := st.input(c.Stdin)
	if err != nil {
		return nil, err
	}
	out, err := st.output(c.Stdout)
	if err != nil {
		return nil, err
	}
	errOut := out
	if c.Stderr == nil || c.Stderr != c.Stdout {
		if errOut, err = st.output(c.Stderr); err != nil {
			return nil, err
		}
	}
	files := []uintptr{in, out, errOut}
	for _, f := range c.ExtraFiles {
		files = append(files, f.Fd())
	}
	env := append(c.Env[:len(c.Env):len(c.Env)], MarkVariable+"="+g.mark)
	child, err := g.r.fork(g, c.Path, c.Args, &syscall.ProcAttr{
		Dir: c.Dir, Env: env, Files: files, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return nil, err
	}
	p := &Process{g: g, child: child, done: make(chan struct{})}
	outputs := st.outputs
	st.outputs = nil
	go p.follow(outputs)
	return p, nil
}

// StartOn starts a process as stage.Command describes it, but with the terminal tty for all its standard streams,
// which becomes that of its session. The caller closes tty.
func (g *Group) StartOn(tty *os.File, c stage.Command) (*Process, error) {
	env := append(c.Env[:len(c.Env):len(c.Env)], MarkVariable+"="+g.mark)
	fd := tty.Fd()
	child, err := g.r.fork(g, c.Path, c.Args, &syscall.ProcAttr{
		Dir: c.Dir, Env: env, Files: []uintptr{fd, fd, fd}, Sys: &syscall.SysProcAttr{Setsid: true, Setctty: true},
	})
	if err != nil {
		return nil, err
	}
	p := &Process{g: g, child: child, done: make(chan struct{})}
	go p.follow(nil)
	return p, nil
}

// PID is the process's id and that of its session and group.
func (p *Process) PID() int { return p.child.pid }

// Wait implements stage.Process.
func (p *Process) Wait() (stage.Exit, error) {
	<-p.done
	s := p.child.status
	if s.Signaled() {
		return stage.Exit{Code: 128 + int(s.Signal()), Signal: s.Signal()}, p.err
	}
	return stage.Exit{Code: s.ExitStatus()}, p.err
}

// End implements stage.Process.
func (p *Process) End(grace time.Duration) {
	_ = end(func() []info { // survivors are reported when the stage ends
		if !p.g.r.reap() {
			return nil
		}
		return session(scan(), p.child.pid)
	}, &p.g.r.asked, grace)
	<-p.done
}

// session lists the process leader, what it started, and who else is in its session, parents first.
func session(all map[int]info, leader int) (list []info) {
	in := map[int]bool{}
	add := func(more ...info) {
		for _, q := range more {
			if !in[q.pid] {
				in[q.pid] = true
				list = append(list, q)
			}
		}
	}
	if p, ok := all[leader]; ok {
		add(p)
	}
	add(descendants(all, leader)...)
	for _, q := range all {
		if q.sid == leader && !in[q.pid] {
			add(q)
		}
	}
	return list
}

// follow copies the output, waits for the end and says when all is done.
func (p *Process) follow(out *outputs) {
	if out != nil {
		copied := make(chan struct{})
		go func() {
			defer close(copied)
			p.err = out.copy()
		}()
		<-p.child.exited
		out.hurry()
		<-copied
		out.close()
	}
	<-p.child.exited
	close(p.done)
}
