package script

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"gitlab.com/skerry/skerry/internal/stage"
	"gitlab.com/skerry/skerry/internal/stage/task"
)

// Terminal prepares the process of a terminal: it has the environment, the directory and the shell that
// a script of the job has at this moment. File variables that are missing are written.
func Terminal(place stage.Place, t *stage.Terminal) (stage.Command, error) {
	if err := task.WriteMissing(t.Env); err != nil {
		return stage.Command{}, err
	}
	tk := &task.Task{Spec: &stage.Spec{Dir: t.Dir}, Place: place, Log: task.Log{Out: io.Discard}, Env: task.NewEnv(os.Environ(), t.Env)}
	if t.EnvFile != "" {
		vars, _, err := readEnvFile(t.EnvFile)
		if err != nil {
			return stage.Command{}, fmt.Errorf("read the job's environment file: %w", err)
		}
		for _, v := range vars {
			tk.Env.Set(v.Key, v.Value)
		}
	}
	env, _ := task.SplitBig(tk.Env)
	c := stage.Command{Env: env.List(), Dir: startDir(t.Dir, t.Base), Args: t.Args}
	if len(t.Args) == 0 {
		path, kind, err := findShell(tk, t.Shell)
		if err != nil {
			return c, err
		}
		c.Path, c.Args = path, []string{kind}
		if t.Login && kind != pwsh {
			c.Args = append(c.Args, "-l")
		}
		return c, nil
	}
	if c.Path = find(tk, c.Dir, t.Args[0]); c.Path == "" {
		return c, &NotFoundError{Name: t.Args[0]}
	}
	return c, nil
}

// NotFoundError says that there is no such program in the place.
type NotFoundError struct{ Name string }

func (e *NotFoundError) Error() string {
	return fmt.Sprintf("there is no program %q in the job's PATH", e.Name)
}

// find is where exec would find a program that a user named.
func find(tk *task.Task, dir, name string) string {
	if !strings.Contains(name, "/") {
		return tk.LookPath(name)
	}
	if !filepath.IsAbs(name) {
		name = filepath.Join(dir, name)
	}
	if st, err := os.Stat(name); err != nil || st.IsDir() {
		return ""
	}
	return name
}

// startDir is the first of the directories that is there.
func startDir(dirs ...string) string {
	for _, d := range dirs {
		if d == "" {
			continue
		}
		if st, err := os.Stat(d); err == nil && st.IsDir() {
			return d
		}
	}
	return "/"
}
