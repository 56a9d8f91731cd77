package task

import (
	"math"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

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

// names lists the keys that have a value, each once.
func (e *Env) names() []string {
	out := make([]string, 0, len(e.keys))
	seen := make(map[string]bool, len(e.keys))
	for _, k := range e.keys {
		if _, ok := e.values[k]; ok && !seen[k] { // a key that was unset and set again is there twice
			seen[k] = true
			out = append(out, k)
		}
	}
	return out
}

// List is the environment as exec wants it.
func (e *Env) List() []string {
	out := e.names()
	for i, k := range out {
		out[i] = k + "=" + e.values[k]
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

// What exec takes (execve(2), "Limits on size of arguments and environment"): 128 KiB a string, and of all
// strings with their pointers a quarter of the stack's limit, but at least 128 KiB and at most 6 MiB.
const (
	maxVar  = 128<<10 - 1
	leastOf = 128 << 10
	pointer = 8
)

// maxEnv is how much of what exec takes the environment may use; the rest is for the arguments, and for
// what a job's commands add to their children's environment.
func maxEnv() int {
	var stack unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_STACK, &stack); err != nil {
		return leastOf / 2
	}
	return int(min(max(stack.Cur/4, leastOf), 2<<20)) / 2 //nolint:gosec // bounded
}

// SplitBig takes out of env what exec would refuse: what is too long, and of the rest the longest until it is
// not too much. The script exports these: the shell itself can use them.
func SplitBig(env Env) (Env, []stage.Var) {
	return splitBig(env, maxEnv())
}

func splitBig(env Env, most int) (small Env, big []stage.Var) {
	size := func(k string) int { return len(k) + len(env.values[k]) + len("=\x00") + pointer }
	small = Env{values: map[string]string{}}
	keys := env.names()
	total := 0
	for _, k := range keys {
		total += size(k)
	}
	out := map[string]bool{}
	bySize := slices.Clone(keys)
	slices.SortStableFunc(bySize, func(a, b string) int { return size(b) - size(a) })
	for _, k := range bySize {
		if size(k)-pointer <= maxVar && total <= most {
			break
		}
		out[k] = true
		total -= size(k)
	}
	for _, k := range keys {
		if out[k] {
			big = append(big, stage.Var{Key: k, Value: env.values[k]})
		} else {
			small.Set(k, env.values[k])
		}
	}
	return small, big
}

// fitting is env without what exec would refuse, for programs that the job's variables mean nothing to.
func fitting(env []string) []string {
	size := 0
	for _, kv := range env {
		size += len(kv) + 1 + pointer
		if len(kv)+1 > maxVar {
			size = math.MaxInt32
			break
		}
	}
	if size <= maxEnv() {
		return env
	}
	small, _ := SplitBig(NewEnv(env, nil))
	return small.List()
}
