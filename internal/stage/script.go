package stage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// script runs the user's lines, with the stage's Pre before and Post after them, in one shell.
func (r *run) script(ctx context.Context, s *Script) Result {
	if s.EnvFile != "" {
		if err := r.addEnvFile(s.EnvFile); err != nil {
			return system(err)
		}
	}
	part := "script_step"
	if strings.HasPrefix(r.spec.ID, "after_script") {
		part = "after_script_step"
	}
	return r.shell(ctx, s, []group{
		{"pre_build_script", r.spec.Pre},
		{part, s.Lines},
		{"post_build_script", r.spec.Post},
	})
}

// hook runs one of the stage's own scripts in a shell of its own.
func (r *run) hook(ctx context.Context, name string, lines []string) Result {
	if len(lines) == 0 {
		return Result{}
	}
	return r.shell(ctx, &Script{Umask: -1}, []group{{name + "_clone_script", lines}})
}

// addEnvFile lays the variables of a job's environment file over the stage's.
func (r *run) addEnvFile(path string) error {
	vars, bad, err := readEnvFile(path)
	if err != nil {
		return fmt.Errorf("read the job's environment file: %w", err)
	}
	if bad > 0 {
		r.log.warn("%d lines of %s are not of the form KEY=VALUE and were left out", bad, path)
	}
	r.spec = withEnv(r.spec, vars)
	for _, v := range vars {
		r.env.set(v.Key, v.Value)
	}
	return nil
}

// withEnv is spec with more variables; spec itself is the caller's.
func withEnv(spec *Spec, vars []Var) *Spec {
	s := *spec
	s.Env = append(s.Env[:len(s.Env):len(s.Env)], vars...)
	return &s
}

// shell runs groups of lines in one shell process and waits for it.
func (r *run) shell(ctx context.Context, s *Script, groups []group) Result {
	path, kind, err := r.findShell(s.Shell)
	if err != nil {
		return system(err)
	}
	t := text{kind: kind, script: s, dir: r.spec.Dir}
	env := r.env
	if kind == pwsh {
		return r.pwsh(ctx, path, t.powershell(groups))
	}
	if s.Login {
		t.exports = plainVars(r.spec.Env)
	}
	env, big := splitBig(env)
	t.exports = append(t.exports, big...)

	src, err := r.hidden(t.posix(groups))
	if err != nil {
		return system(fmt.Errorf("hand the script to the shell: %w", err))
	}
	defer src.Close()
	e, err := r.exec(ctx, Command{
		Path: path, Args: shellArgs(path, kind, s.Login), Env: env.list(),
		ExtraFiles: []*os.File{src}, Stdout: r.place.Stdout, Stderr: r.place.Stderr,
	})
	return r.ended(e, err)
}

// ended turns the end of the shell into a result. A lost output does not change a true exit code.
func (r *run) ended(e Exit, err error) Result {
	switch {
	case e.Code != 0:
		return failed(e)
	case err != nil:
		return system(err)
	}
	return Result{}
}

// The kinds of shell.
const (
	bash  = "bash"
	posix = "sh"
	pwsh  = "pwsh"
)

// findShell chooses the shell: the one asked for, else bash, else sh.
func (r *run) findShell(want string) (path, kind string, err error) {
	names := []string{want}
	if want == "" {
		names = []string{bash, posix}
	}
	for _, name := range names {
		for _, p := range r.place.Shells {
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
func (r *run) hidden(text string) (*os.File, error) {
	f, err := r.nameless()
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

func (r *run) nameless() (*os.File, error) {
	if fd, err := unix.MemfdCreate("script", unix.MFD_CLOEXEC); err == nil {
		return os.NewFile(uintptr(fd), "script"), nil
	}
	f, err := os.CreateTemp(r.place.Scratch, "script") // 0600, in a directory of 0700
	if err != nil {
		return nil, err
	}
	return f, os.Remove(f.Name())
}

// A string of the environment may have 128 KiB on Linux (MAX_ARG_STRLEN), all of it a quarter of the
// stack's limit. Variables beyond that are exported by the script: the shell itself can use them.
const (
	maxVar = 128<<10 - 1
	maxEnv = 1 << 20
)

// splitBig takes out of env what exec would refuse.
func splitBig(env environment) (environment, []Var) {
	small, size := environment{values: map[string]string{}}, 0
	var big []Var
	for _, k := range env.keys {
		v, ok := env.values[k]
		n := len(k) + len(v) + 2
		switch {
		case !ok:
		case n > maxVar || size+n > maxEnv:
			big = append(big, Var{Key: k, Value: v})
		default:
			small.set(k, v)
			size += n
		}
	}
	return small, big
}

// plainVars is vars as the environment has them: a file variable is its path.
func plainVars(vars []Var) []Var {
	out := make([]Var, 0, len(vars))
	for _, v := range vars {
		if v.File != "" {
			v.Value = v.File
		}
		out = append(out, Var{Key: v.Key, Value: v.Value})
	}
	return out
}
