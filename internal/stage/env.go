package stage

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// environment is an ordered environment in which a later value replaces an earlier one.
type environment struct {
	keys   []string
	values map[string]string
}

// newEnvironment is base ("KEY=VALUE") with vars laid over it. What cannot be an environment
// variable (an empty key, a NUL or "=" in it) is left out.
func newEnvironment(base []string, vars []Var) environment {
	e := environment{values: make(map[string]string, len(base)+len(vars))}
	for _, kv := range base {
		if k, v, ok := strings.Cut(kv, "="); ok {
			e.set(k, v)
		}
	}
	for _, v := range vars {
		if v.File != "" {
			e.set(v.Key, v.File)
			continue
		}
		e.set(v.Key, v.Value)
	}
	return e
}

func (e *environment) set(key, value string) {
	if key == "" || strings.ContainsAny(key, "=\x00") || strings.IndexByte(value, 0) >= 0 {
		return
	}
	if _, ok := e.values[key]; !ok {
		e.keys = append(e.keys, key)
	}
	e.values[key] = value
}

func (e *environment) unset(key string) {
	delete(e.values, key)
}

func (e *environment) get(key string) string { return e.values[key] }

// clone returns a copy that may be changed alone.
func (e *environment) clone() environment {
	return newEnvironment(e.list(), nil)
}

// list is the environment as exec wants it.
func (e *environment) list() []string {
	out := make([]string, 0, len(e.keys))
	seen := make(map[string]bool, len(e.keys))
	for _, k := range e.keys {
		v, ok := e.values[k]
		if !ok || seen[k] {
			continue
		}
		seen[k] = true
		out = append(out, k+"="+v)
	}
	return out
}

// writeVariables writes the file of every file variable: 0600, in a directory of 0700 when it has
// to be made. What lies at the path is replaced, never written through: a job may have planted a link.
func writeVariables(vars []Var) error {
	for _, v := range vars {
		if v.File == "" {
			continue
		}
		if err := writeVariable(v.File, v.Value); err != nil {
			return fmt.Errorf("write the file of variable %s: %w", v.Key, err)
		}
	}
	return nil
}

func writeVariable(path, value string) error {
	dir := filepath.Dir(path)
	if st, err := os.Lstat(dir); err == nil && !st.IsDir() {
		if err := os.Remove(dir); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := removeAll(path); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = io.WriteString(f, value)
	return errors.Join(err, f.Close())
}

// maxEnvFile bounds what is read of a job's environment file.
const maxEnvFile = 4 << 20

// readEnvFile reads the KEY=VALUE lines of a file that the job wrote. Spaces around a line go, as
// with GitLab Runner, which reads the file with the shell's read; a line that is no assignment is
// counted in bad. A missing file is an empty one.
func readEnvFile(path string) (vars []Var, bad int, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() || st.Size() > maxEnvFile {
		return nil, 0, errors.Join(err, fmt.Errorf("%s is not a regular file of at most %d bytes", path, maxEnvFile))
	}
	text, err := io.ReadAll(io.LimitReader(f, maxEnvFile))
	if err != nil {
		return nil, 0, err
	}
	vars, bad = parseEnv(text)
	return vars, bad, nil
}

func parseEnv(text []byte) (vars []Var, bad int) {
	for line := range bytes.Lines(text) {
		s := strings.Trim(string(line), " \t\n")
		if s == "" {
			continue
		}
		k, v, ok := strings.Cut(s, "=")
		if !ok || !isName(k) || strings.IndexByte(v, 0) >= 0 {
			bad++
			continue
		}
		vars = append(vars, Var{Key: k, Value: v})
	}
	return vars, bad
}

// isName reports whether a shell can export s.
func isName(s string) bool {
	for i, c := range []byte(s) {
		letter := c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

// pathDirs splits a PATH; relative entries are left out, they would be the job's.
func pathDirs(path string) []string {
	var dirs []string
	for _, d := range filepath.SplitList(path) {
		if filepath.IsAbs(d) {
			dirs = append(dirs, d)
		}
	}
	return dirs
}
