package task

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"gitlab.com/skerry/skerry/internal/stage"
	"gitlab.com/skerry/skerry/internal/stage/tree"
)

// WriteVariables writes the file of every file variable of a stage: 0600, in a directory of 0700 when it has
// to be made, both for everybody when the places' users differ. What lies at the path is replaced, never
// written through: a job may have planted a link.
func WriteVariables(spec *stage.Spec) error {
	for _, v := range spec.Env {
		if v.File == "" {
			continue
		}
		if err := writeVariable(v.File, v.Value, spec.Mixed); err != nil {
			return fmt.Errorf("write the file of variable %s: %w", v.Key, err)
		}
	}
	return nil
}

// MakeFileDir makes the directory that path is in, 0700 or, when it is for everybody, 0777, when it is missing;
// those above it are as the umask has them then.
// Something else that a job has left in its place is removed.
func MakeFileDir(path string, everybody bool) error {
	dir := filepath.Dir(path)
	if st, err := os.Lstat(dir); err == nil && !st.IsDir() {
		if err := os.Remove(dir); err != nil {
			return err
		}
	}
	if !everybody {
		return os.MkdirAll(dir, 0o700)
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o777); err != nil {
		return err
	}
	err := os.Mkdir(dir, 0o700)
	if err == nil {
		return os.Chmod(dir, 0o777) // whatever the umask is
	}
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

func writeVariable(path, value string, everybody bool) error {
	if err := MakeFileDir(path, everybody); err != nil {
		return err
	}
	if err := tree.RemoveAll(path); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = io.WriteString(f, value)
	if err == nil && everybody {
		err = f.Chmod(0o666)
	}
	return errors.Join(err, f.Close())
}

// WriteMissing writes the files of file variables that are not there. A stage that runs meanwhile keeps its own.
func WriteMissing(vars []stage.Var) error {
	for _, v := range vars {
		if v.File == "" {
			continue
		}
		if _, err := os.Lstat(v.File); err == nil {
			continue
		}
		if err := writeVariable(v.File, v.Value, false); err != nil && !errors.Is(err, os.ErrExist) {
			return fmt.Errorf("write the file of variable %s: %w", v.Key, err)
		}
	}
	return nil
}
