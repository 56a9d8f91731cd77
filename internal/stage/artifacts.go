package stage

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
)

// pack makes artifact archives. Where nothing matches, no archive is made and that is no failure.
func (r *run) pack(ctx context.Context, s *Pack) Result {
	root, err := os.OpenRoot(r.spec.Dir)
	if err != nil {
		return system(fmt.Errorf("open the project directory: %w", err))
	}
	defer root.Close()
	var res Result
	for i := range s.Archives {
		r.log.notice("Uploading artifacts...")
		one, err := r.packOne(ctx, root, &s.Archives[i])
		if err != nil {
			helperLog{r.place.Stderr}.fatal("%v", err)
			return packFailed(res.Archives, s.Archives[i].Title, err)
		}
		if one != nil {
			res.Archives = append(res.Archives, *one)
		}
	}
	return res
}

// packFailed tells a full disk, which is the place's fault, from files that cannot be packed.
func packFailed(made []Archive, title string, err error) Result {
	res := Result{Reason: Failed, ExitCode: 1, Message: fmt.Sprintf("pack artifacts %q: %v", title, err), Archives: made}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		res.Reason, res.ExitCode = System, 0
	}
	return res
}

// packOne makes one archive; nil means that there was nothing to pack.
func (r *run) packOne(ctx context.Context, root *os.Root, a *PackOne) (*Archive, error) {
	log := helperLog{r.place.Stderr}
	files, _, err := r.choose(ctx, root, a.Files)
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
	o := r.packOptions(files, a.Format, a.Level)
	sum := sha256.New()
	var st archive.Stats
	err = replaceFile(r.place.Archives, a.Name, 0o600, func(f *os.File) (err error) {
		st, err = archive.Create(ctx, io.MultiWriter(f, sum), root, files, o)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &Archive{Name: a.Name, Size: st.Size, SHA256: hex.EncodeToString(sum.Sum(nil)), Files: st.Files}, nil
}

// unpack extracts archives in order and removes each when it is extracted.
func (r *run) unpack(ctx context.Context, s *Unpack) Result {
	root, err := os.OpenRoot(r.spec.Dir)
	if err != nil {
		return system(fmt.Errorf("open the project directory: %w", err))
	}
	defer root.Close()
	for _, name := range s.Archives {
		if err := r.unpackOne(ctx, root, name); err != nil {
			helperLog{r.place.Stderr}.fatal("%v", err)
			return system(fmt.Errorf("extract %s: %w", name, err))
		}
	}
	return Result{}
}

func (r *run) unpackOne(ctx context.Context, root *os.Root, name string) error {
	f, err := r.place.Archives.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
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
	if _, err := r.extract(ctx, f, st.Size(), root); err != nil {
		return err
	}
	return r.place.Archives.Remove(name)
}

// statementName is what GitLab Runner calls the statement of an archive.
func statementName(m *Metadata) string {
	return strings.TrimSuffix(m.ArtifactName, ".zip") + "-metadata.json"
}
