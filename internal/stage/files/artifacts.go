package files

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"

	"gitlab.com/skerry/skerry/internal/archive"
	"gitlab.com/skerry/skerry/internal/stage"
	"gitlab.com/skerry/skerry/internal/stage/task"
)

// Pack makes artifact archives. Where nothing matches, no archive is made and that is no failure.
func Pack(ctx context.Context, tk *task.Task, s *stage.Pack) stage.Result {
	root, err := os.OpenRoot(tk.Spec.Dir)
	if err != nil {
		return task.System(fmt.Errorf("open the project directory: %w", err))
	}
	defer root.Close()
	var res stage.Result
	for i := range s.Archives {
		tk.Log.Notice("Uploading artifacts...")
		one, err := packOne(ctx, tk, root, &s.Archives[i])
		if err != nil {
			helperLog{tk.Place.Stderr}.fatal(err)
			res.Reason, res.ExitCode = blame(err)
			res.Message = fmt.Sprintf("pack artifacts %q: %v", s.Archives[i].Title, err)
			return res
		}
		if one != nil {
			res.Archives = append(res.Archives, *one)
		}
	}
	return res
}

// blame tells what the place is at fault for, a full disk or an archive that is not there, from files that
// cannot be packed or extracted: GitLab Runner's helper ends with exit code 1 then, which fails the job.
func blame(err error) (stage.Reason, int) {
	for _, place := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EIO, fs.ErrNotExist} {
		if errors.Is(err, place) {
			return stage.System, 0
		}
	}
	return stage.Failed, 1
}

// packOne makes one archive; nil means that there was nothing to pack.
func packOne(ctx context.Context, tk *task.Task, root *os.Root, a *stage.PackOne) (*stage.Archive, error) {
	log := helperLog{tk.Place.Stderr}
	files, _, err := choose(ctx, tk, root, a.Files)
	if err != nil {
		return nil, err
	}
	if a.Metadata != nil {
		log.info("Generating artifacts statement")
		name, err := writeStatement(ctx, root, files, a.Metadata)
		if err != nil {
			return nil, fmt.Errorf("make the artifacts statement: %w", err)
		}
		if !slices.Contains(files, name) {
			files = append(files, name)
			slices.Sort(files)
		}
	}
	if len(files) == 0 {
		log.fail("No files to upload")
		return nil, nil //nolint:nilnil // documented
	}
	o := packOptions(tk, files, a.Format, a.Level)
	sum := sha256.New()
	var st archive.Stats
	err = replaceFile(tk.Place.Archives, a.Name, 0o600, func(f *os.File) (err error) {
		st, err = archive.Create(ctx, io.MultiWriter(f, sum), root, files, o)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &stage.Archive{Name: a.Name, Size: st.Size, SHA256: hex.EncodeToString(sum.Sum(nil)), Files: st.Files}, nil
}

// Unpack extracts archives in order and removes each when it is extracted.
func Unpack(ctx context.Context, tk *task.Task, s *stage.Unpack) stage.Result {
	root, err := os.OpenRoot(tk.Spec.Dir)
	if err != nil {
		return task.System(fmt.Errorf("open the project directory: %w", err))
	}
	defer root.Close()
	for _, name := range s.Archives {
		if err := unpackOne(ctx, tk, root, name); err != nil {
			helperLog{tk.Place.Stderr}.fatal(err)
			reason, code := blame(err)
			return stage.Result{Reason: reason, ExitCode: code, Message: fmt.Sprintf("extract %s: %v", name, err)}
		}
	}
	return stage.Result{}
}

func unpackOne(ctx context.Context, tk *task.Task, root *os.Root, name string) error {
	f, err := tk.Place.Archives.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() {
		return &fs.PathError{Op: "open", Path: name, Err: errors.New("not a regular file")}
	}
	if _, err := extract(ctx, tk, f, st.Size(), root); err != nil {
		return err
	}
	return tk.Place.Archives.Remove(name)
}

// statementName is what GitLab Runner calls the statement of an archive.
func statementName(m *stage.Metadata) string {
	return strings.TrimSuffix(m.ArtifactName, ".zip") + "-metadata.json"
}
