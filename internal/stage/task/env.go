package task

import (
	"path/filepath"
	"strings"

	"gitlab.com/skerry/skerry/internal/stage"
)

// Env is an ordered environment in which a later value replaces an earlier one. NewEnv makes one; a copy
// shares its values, see Clone. It is not safe for concurrent use.
type Env struct {
	keys   []string
	values map[string]string
}

// NewEnv is base ("KEY=VALUE") with vars laid over it. What cannot be an environment
// variable (an empty key, a NUL or "=" in it) is left out.
func NewEnv(base []string, vars []stage.Var) Env {
	e := Env{values: make(map[string]string, len(base)+len(vars))}
	for _, kv := range base {
		if k, v, ok := strings.Cut(kv, "="); ok {
			e.Set(k, v)
		}
	}
	for _, v := range vars {
		if v.File != "" {
			e.Set(v.Key, v.File)
			continue
		}
		e.Set(v.Key, v.Value)
	}
	return e
}

// Set gives key a value. A pair that exec would refuse is left out.
func (e *Env) Set(key, value string) {
	if key == "" || strings.ContainsAny(key, "=\x00") || strings.IndexByte(value, 0) >= 0 {
		return
	}
	if _, ok := e.values[key]; !ok {
		e.keys = append(e.keys, key)
	}
	e.values[key] = value
}

// Unset takes key out.
func (e *Env) Unset(key string) {
	delete(e.values, key)
}

// Get is the value of key; empty when it has none.
func (e *Env) Get(key string) string { return e.values[key] }

// Clone returns a copy that may be changed alone.
func (e *Env) Clone() Env {
	return NewEnv(e.List(), nil)
}

// List is the environment as exec wants it.
func (e *Env) List() []string {
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

// Quote makes s one word of a POSIX shell, whatever its bytes.
func Quote(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// A string of the environment may have 128 KiB on Linux (MAX_ARG_STRLEN), all of it a quarter of the
// stack's limit. Variables beyond that are exported by the script: the shell itself can use them.
const (
	maxVar = 128<<10 - 1
	maxEnv = 1 << 20
)

// SplitBig takes out of env what exec would refuse.
func SplitBig(env Env) (Env, []stage.Var) {
	small, size := Env{values: map[string]string{}}, 0
	var big []stage.Var
	for _, k := range env.keys {
		v, ok := env.values[k]
		n := len(k) + len(v) + 2
		switch {
		case !ok:
		case n > maxVar || size+n > maxEnv:
			big = append(big, stage.Var{Key: k, Value: v})
		default:
			small.Set(k, v)
			size += n
		}
	}
	return small, big
}
