package container

import (
	"strings"

	"gitlab.com/skerry/skerry/internal/job"
)

// What a container's environment can hold: of one variable what exec takes of a string (execve(2), "Limits on size
// of arguments and environment"), of all half of what it takes with the usual limits.
const (
	maxVariable = 128<<10 - 1
	maxEnviron  = 1 << 20
)

// environ is the environment of variables, those of files with their paths. What no environment can hold is
// left out.
func environ(j *job.Job, vars job.Variables) []string {
	var env []string
	sum := 0
	for _, v := range vars.Dedup() {
		if v.File {
			v.Value = filePaths(j)(v.Key)
		}
		size := len(v.Key) + len("=") + len(v.Value)
		if v.Key == "" || strings.ContainsAny(v.Key, "=\x00") || strings.Contains(v.Value, "\x00") || size >= maxVariable || sum+size > maxEnviron {
			continue
		}
		sum += size
		env = append(env, v.Key+"="+v.Value)
	}
	return env
}
