package script

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"gitlab.com/skerry/skerry/internal/stage"
)

// maxEnvFile bounds what is read of a job's environment file.
const maxEnvFile = 4 << 20

// readEnvFile reads the KEY=VALUE lines of a file that the job wrote. Spaces around a line go, as
// with GitLab Runner, which reads the file with the shell's read; a line that is no assignment is
// counted in bad. A missing file is an empty one.
func readEnvFile(path string) (vars []stage.Var, bad int, err error) {
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

func parseEnv(text []byte) (vars []stage.Var, bad int) {
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
		vars = append(vars, stage.Var{Key: k, Value: v})
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
