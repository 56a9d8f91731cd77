// Package store checks what a runner uploads: archives must be what they claim, reports must parse.
package store

import (
	"archive/zip"
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
)

// GitLab's default limits for dotenv reports (PlanLimits: dotenv_size, dotenv_variables).
const (
	maxDotenvSize      = 5 << 10
	maxDotenvVariables = 150
)

// Check reads the whole file and says whether it is of the format ("zip", "gzip", "raw"), every
// checksum included, and holds no name that points out of the directory it is extracted in.
func Check(file, format string) error {
	switch format {
	case "raw":
		return nil
	case "gzip":
		return checkGzip(file)
	case "zip":
		return checkZip(file)
	}
	return fmt.Errorf("artifact_format %q does not have a valid value", format)
}

func checkGzip(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("stored upload: %w", err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return fmt.Errorf("not gzip: %w", err)
	}
	if _, err := io.Copy(io.Discard, z); err != nil {
		return fmt.Errorf("broken gzip: %w", err)
	}
	return nil
}

func checkZip(file string) error {
	z, err := zip.OpenReader(file)
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) {
		return fmt.Errorf("not a zip archive: %w", err)
	}
	defer func() { _ = z.Close() }() // only read
	if len(z.File) == 0 {
		return errors.New("the zip archive is empty; a runner uploads nothing then")
	}
	for _, f := range z.File {
		if path.IsAbs(f.Name) || f.Name == ".." || strings.HasPrefix(path.Clean(f.Name), "../") {
			return fmt.Errorf("zip entry %q points out of the project directory", f.Name)
		}
		if err := readEntry(f); err != nil {
			return fmt.Errorf("zip entry %q: %w", f.Name, err)
		}
	}
	return nil
}

func readEntry(f *zip.File) error {
	r, err := f.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.Copy(io.Discard, r)
	return err
}

// Variable is one line of a dotenv report.
type Variable struct{ Key, Value string }

// Dotenv parses a gzipped dotenv report by GitLab's rules (Ci::ParseDotenvArtifactService): every
// line is KEY=VALUE, surrounding space is dropped, quotes are kept, a later line wins.
func Dotenv(file string) ([]Variable, error) {
	st, err := os.Stat(file)
	if err != nil {
		return nil, fmt.Errorf("stored upload: %w", err)
	}
	if st.Size() >= maxDotenvSize {
		return nil, fmt.Errorf("dotenv report too big: the limit is %d bytes", maxDotenvSize)
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("stored upload: %w", err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, fmt.Errorf("not gzip: %w", err)
	}
	return ParseDotenv(z)
}

// ParseDotenv is Dotenv for an uncompressed report.
func ParseDotenv(r io.Reader) ([]Variable, error) {
	var vars []Variable
	at := map[string]int{}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		key, value, ok := strings.Cut(lines.Text(), "=")
		if !ok {
			return nil, errors.New("invalid dotenv format: a line has no =")
		}
		v := Variable{Key: strings.TrimSpace(key), Value: strings.TrimSpace(value)}
		if !validKey(v.Key) {
			return nil, fmt.Errorf("invalid dotenv key %q: it can contain only letters, digits and '_'", v.Key)
		}
		if i, seen := at[v.Key]; seen {
			vars[i] = v
			continue
		}
		at[v.Key] = len(vars)
		vars = append(vars, v)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read dotenv report: %w", err)
	}
	if len(vars) > maxDotenvVariables {
		return nil, fmt.Errorf("more than %d variables in a dotenv report", maxDotenvVariables)
	}
	return vars, nil
}

func validKey(key string) bool {
	for _, r := range key {
		if r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') {
			return false
		}
	}
	return key != ""
}
