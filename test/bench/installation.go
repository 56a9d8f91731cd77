package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/store"
)

// patience bounds each wait; reaching it is an error.
const patience = 2 * time.Minute

// stopGrace is how long a runner may take to end after QUIT.
const stopGrace = 20 * time.Second

// wish is what an installation is to be like.
type wish struct {
	concurrent int
	keys       []string // lines for the [[runners]] entry
	traces     store.Mode
	project    bool             // host a repository and claim a job for the floor's token
	listen     string           // the coordinator's address; empty: a loopback's
	engine     *containerEngine // run jobs in containers, as the engine's user
	more       []string         // lines after the entry
}

// installation is a coordinator, and a runner process with a home of its own, so that neither the
// user's profile nor git configuration is part of what is measured.
type installation struct {
	dir     string
	co      *gitlabtest.Coordinator
	env     []string // of the runner, and of what is run by hand
	sources sources  // for the floor; zero without wish.project
	runner  *exec.Cmd
	stderr  string
	exited  chan error
}

// install starts all of it and returns when the runner waits for jobs. The caller closes it.
func install(ctx context.Context, s *settings, w wish) (in *installation, err error) {
	dir, err := os.MkdirTemp(s.dir, "runner")
	if err != nil {
		return nil, err
	}
	in = &installation{dir: dir, stderr: filepath.Join(dir, "stderr")}
	in.env = []string{"HOME=" + filepath.Join(dir, "home"), "PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8"}
	if err := os.Mkdir(filepath.Join(dir, "home"), 0o700); err != nil {
		return nil, err
	}
	if in.co, err = gitlabtest.New(gitlabtest.Options{Dir: filepath.Join(dir, "coordinator"), Traces: w.traces, Listen: w.listen}); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, in.close())
		}
	}()
	if w.project {
		if err := in.host(ctx); err != nil {
			return in, err
		}
	}
	if err := in.start(s, w); err != nil {
		return in, err
	}
	return in, in.listening(ctx)
}

// listening returns when the runner waits for jobs.
func (in *installation) listening(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := in.co.WaitHeld(ctx, 1); err != nil {
		return fmt.Errorf("the runner does not ask for jobs: %w\n%s", err, in.words())
	}
	return nil
}

func (in *installation) start(s *settings, w wish) error {
	executor := "shell"
	if w.engine != nil {
		executor = "docker"
	}
	config := fmt.Sprintf("concurrent = %d\ncheck_interval = 1\nlog_level = \"warn\"\n\n[[runners]]\nname = \"bench\"\nurl = %q\ntoken = %q\nexecutor = %q\n%s\n  [runners.custom_build_dir]\n    enabled = true\n",
		w.concurrent, in.co.URL(), in.co.AddRunner(gitlabtest.RunnerSpec{}).Token, executor, strings.Join(w.keys, "\n"))
	config += strings.Join(w.more, "\n") + "\n"
	path := filepath.Join(in.dir, "config.toml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		return err
	}
	stderr, err := os.Create(in.stderr)
	if err != nil {
		return err
	}
	defer stderr.Close()
	// Not CommandContext: an interrupted benchmark ends its runner gracefully, see close.
	in.runner = exec.Command(s.skerry, "run", "--working-directory", in.dir, "--config", path) //nolint:noctx // see above
	in.runner.Env, in.runner.Stdout, in.runner.Stderr = in.env, stderr, stderr
	in.runner.SysProcAttr = &syscall.SysProcAttr{}
	if w.engine != nil {
		in.runner.SysProcAttr = w.engine.credential()
		if err := in.lend(path, w.engine); err != nil {
			return err
		}
	}
	in.runner.SysProcAttr.Setpgid, in.runner.SysProcAttr.Pdeathsig = true, syscall.SIGTERM
	if err := in.runner.Start(); err != nil {
		in.runner = nil
		return err
	}
	in.exited = make(chan error, 1)
	go func() { in.exited <- in.runner.Wait() }()
	return nil
}

// lend gives the runner's directory to the user that it will run as.
func (in *installation) lend(config string, e *containerEngine) error {
	if e.as == nil {
		return nil
	}
	uid, err := strconv.Atoi(e.as.Uid)
	if err != nil {
		return err
	}
	errs := []error{os.Chmod(filepath.Dir(in.dir), 0o711)}
	for _, path := range []string{in.dir, filepath.Join(in.dir, "home"), config} {
		errs = append(errs, os.Chown(path, uid, -1))
	}
	return errors.Join(errs...)
}

// words is the end of what the runner had to say.
func (in *installation) words() string {
	b, err := os.ReadFile(in.stderr)
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-4096):])
}

// close stops the runner and the coordinator. It is an error if the runner broke the contract: figures
// of a runner that does are worth nothing.
func (in *installation) close() error {
	var errs []error
	if in.runner != nil {
		_ = in.runner.Process.Signal(syscall.SIGQUIT)
		select {
		case err := <-in.exited:
			if err != nil {
				errs = append(errs, fmt.Errorf("the runner ended with %w\n%s", err, in.words()))
			}
		case <-time.After(stopGrace):
			_ = in.runner.Process.Kill()
			errs = append(errs, fmt.Errorf("the runner did not end on QUIT: %w\n%s", <-in.exited, in.words()))
		}
	}
	for _, b := range in.co.Breaches() {
		errs = append(errs, fmt.Errorf("the runner broke the contract: %s", b))
	}
	in.co.Close()
	return errors.Join(errs...)
}

// job runs one job and returns it when it has succeeded.
func (in *installation) job(ctx context.Context, spec gitlabtest.JobSpec) (gitlabtest.Job, error) {
	id, err := in.co.AddJob(ctx, spec)
	if err != nil {
		return gitlabtest.Job{}, err
	}
	return in.succeeded(ctx, id)
}

// succeeded waits for a job; one that ends in any other way is an error.
func (in *installation) succeeded(ctx context.Context, id int64) (gitlabtest.Job, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	j, err := in.co.Wait(ctx, id)
	if err == nil && j.Status != gitlabtest.StatusSuccess {
		err = fmt.Errorf("job %d ended as %s (%s)", id, j.Status, j.Reason)
	}
	if err != nil {
		trace, _ := in.co.Trace(id) // not there without a log: the error says enough
		return j, fmt.Errorf("%w\n%s\n%s", err, trace[max(0, len(trace)-2048):], in.words())
	}
	return j, nil
}

// took is the time from the answer that handed a job out to the accepted final status, by the
// coordinator's clock.
func took(j gitlabtest.Job) time.Duration { return j.Finished.Sub(j.HandedOut) }
