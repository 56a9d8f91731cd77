// Package script runs lines of the user's, and the hooks of a stage, in one shell: it writes the program
// that shows and runs each line, and hands it to the shell where nobody else can read it.
package script

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"gitlab.com/skerry/skerry/internal/stage"
	"gitlab.com/skerry/skerry/internal/stage/task"
)

// Run runs the user's lines, with the stage's Pre before and Post after them, in one shell.
func Run(ctx context.Context, tk *task.Task, s *stage.Script) stage.Result {
	if s.EnvFile != "" {
		if err := addEnvFile(tk, s.EnvFile); err != nil {
			return task.System(err)
		}
	}
	part := "script_step"
	if strings.HasPrefix(tk.Spec.ID, "after_script") {
		part = "after_script_step"
	}
	return shell(ctx, tk, s, []group{
		{"pre_build_script", tk.Spec.Pre},
		{part, s.Lines},
		{"post_build_script", tk.Spec.Post},
	})
}

// Hook runs one of the stage's own scripts in a shell of its own.
func Hook(ctx context.Context, tk *task.Task, name string, lines []string) stage.Result {
	if len(lines) == 0 {
		return stage.Result{}
	}
	return shell(ctx, tk, &stage.Script{Umask: -1}, []group{{name + "_clone_script", lines}})
}

// addEnvFile lays the variables of a job's environment file over the stage's, and sees to it that the
// job can write one.
func addEnvFile(tk *task.Task, path string) error {
	if err := task.MakeFileDir(path, tk.Spec.Mixed); err != nil {
		return fmt.Errorf("make the directory of the job's environment file: %w", err)
	}
	vars, bad, err := readEnvFile(path)
	if err != nil {
		return fmt.Errorf("read the job's environment file: %w", err)
	}
	if bad > 0 {
		tk.Log.Warn("%d lines of %s are not of the form KEY=VALUE and were left out", bad, path)
	}
	tk.Spec = withEnv(tk.Spec, vars)
	for _, v := range vars {
		tk.Env.Set(v.Key, v.Value)
	}
	return nil
}

// withEnv is spec with more variables; spec itself is the caller's.
func withEnv(spec *stage.Spec, vars []stage.Var) *stage.Spec {
	s := *spec
	s.Env = append(s.Env[:len(s.Env):len(s.Env)], vars...)
	return &s
}

// shell runs groups of lines in one shell process and waits for it.
func shell(ctx context.Context, tk *task.Task, s *stage.Script, groups []group) stage.Result {
	path, kind, err := findShell(tk, s.Shell)
	if err != nil {
		return task.System(err)
	}
	t := text{kind: kind, script: s, dir: tk.Spec.Dir}
	env := tk.Env
	if kind == pwsh {
		return runPwsh(ctx, tk, path, t.powershell(groups))
	}
	if s.Login {
		t.exports = plainVars(tk.Spec.Env)
	}
	env, big := task.SplitBig(env)
	t.exports = append(t.exports, big...)

	src, err := hidden(tk, t.posix(groups))
	if err != nil {
		return task.System(fmt.Errorf("hand the script to the shell: %w", err))
	}
	defer src.Close()
	e, err := tk.Exec(ctx, stage.Command{
		Path: path, Args: shellArgs(path, kind, s.Login), Env: env.List(),
		ExtraFiles: []*os.File{src}, Stdout: tk.Place.Stdout, Stderr: tk.Place.Stderr,
	})
	return ending(e, err)
}

// ending turns the end of the shell into a result. A lost output does not change a true exit code.
func ending(e stage.Exit, err error) stage.Result {
	switch {
	case e.Code != 0:
		return task.Failed(e)
	case errors.Is(err, syscall.ENOEXEC):
		return task.System(fmt.Errorf("%w: the shell here is made for another kind of processor than this machine's (linux/%s): use an image for that",
			err, runtime.GOARCH))
	case err != nil:
		return task.System(err)
	}
	return stage.Result{}
}

// The kinds of shell.
const (
	bash  = "bash"
	posix = "sh"
	pwsh  = "pwsh"
)

// findShell chooses the shell: the one asked for, else bash, else sh.
func findShell(tk *task.Task, want string) (path, kind string, err error) {
	names := []string{want}
	if want == "" {
		names = []string{bash, posix}
	}
	for _, name := range names {
		for _, p := range tk.Place.Shells {
			if filepath.Base(p) == name {
				return p, name, nil
			}
		}
	}
	return "", "", fmt.Errorf("there is no %s here; use an image that has a shell, or name one in the runner's \"shell\" setting",
		strings.Join(names, " and no "))
}

// The shell reads the script from descriptor 3 into a variable and evaluates it, as GitLab Runner's
// does: so it is in no argument, each command is parsed when its turn comes, standard input is free,
// and error messages begin with the shell's name. 'cat' is the only way for shells that cannot read
// up to a NUL. Descriptor and variable are gone before the first line runs.
const (
	bashLoader  = `IFS= read -r -d '' skerry_script <&3 || :; exec 3<&-; eval "$skerry_script"`
	posixLoader = `skerry_script=$(cat <&3) || exit; exec 3<&-; eval "$skerry_script"`
)

func shellArgs(path, kind string, login bool) []string {
	args, loader := []string{path}, posixLoader
	if kind == bash {
		loader = bashLoader
	}
	if login {
		args = []string{kind, "-l"} // GitLab Runner's shell executor starts it by name: seen in error messages
	}
	return append(args, "-c", loader)
}

// hidden is an open file that holds text, at its beginning, and has no name that others could open.
func hidden(tk *task.Task, text string) (*os.File, error) {
	f, err := nameless(tk)
	if err != nil {
		return nil, err
	}
	if _, err := f.WriteString(text); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if _, err := f.Seek(0, 0); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func nameless(tk *task.Task) (*os.File, error) {
	if fd, err := unix.MemfdCreate("script", unix.MFD_CLOEXEC); err == nil {
		return os.NewFile(uintptr(fd), "script"), nil
	}
	f, err := os.CreateTemp(tk.Place.Scratch, "script") // 0600, in a directory of 0700
	if err != nil {
		return nil, err
	}
	return f, os.Remove(f.Name())
}

// plainVars is vars as the environment has them: a file variable is its path.
func plainVars(vars []stage.Var) []stage.Var {
	out := make([]stage.Var, 0, len(vars))
	for _, v := range vars {
		if v.File != "" {
			v.Value = v.File
		}
		out = append(out, stage.Var{Key: v.Key, Value: v.Value})
	}
	return out
}
