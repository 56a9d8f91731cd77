package view

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// copy makes the copy name, which appears when it is complete.
func (v *View) copy(name string) error {
	as := fresh + name
	err := v.dir.RemoveAll(as) // a try that failed
	if err == nil {
		err = v.replicate(v.store, name, v.dir, as)
	}
	if err == nil {
		err = v.dir.Rename(as, name)
	}
	if err != nil {
		_ = v.dir.RemoveAll(as) // the next try does, or whoever removes the job's environment
	}
	return err
}

// replicate makes a copy of what is called name in from, with Nix's permissions and times. The owner is who copies.
func (v *View) replicate(from *os.Root, name string, to *os.Root, as string) error {
	if v.ctx.Err() != nil {
		return context.Cause(v.ctx)
	}
	i, err := from.Lstat(name)
	if err != nil {
		return err
	}
	switch i.Mode().Type() {
	case fs.ModeSymlink:
		target, err := from.Readlink(name)
		if err != nil {
			return err
		}
		return to.Symlink(target, as)
	case fs.ModeDir:
		err = v.replicateDir(from, name, to, as)
	case 0:
		err = v.replicateFile(from, name, to, as)
	default:
		err = fmt.Errorf("%s is neither a file, a directory nor a link", name)
	}
	if err != nil {
		return err
	}
	return errors.Join(to.Chmod(as, i.Mode().Perm()), to.Chtimes(as, i.ModTime(), i.ModTime()))
}

func (v *View) replicateDir(from *os.Root, name string, to *os.Root, as string) error {
	if err := to.Mkdir(as, 0o700); err != nil {
		return err
	}
	in, err := from.OpenRoot(name)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := to.OpenRoot(as)
	if err != nil {
		return err
	}
	defer out.Close()
	f, err := in.Open(".")
	if err != nil {
		return err
	}
	names, err := f.Readdirnames(-1)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	for _, n := range names {
		if err := v.replicate(in, n, out, n); err != nil {
			return err
		}
	}
	return nil
}

func (v *View) replicateFile(from *os.Root, name string, to *os.Root, as string) error {
	in, err := from.Open(name)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := to.OpenFile(as, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(copyContent(v.ctx, out, in), out.Close())
}

// pieceSize is how much of a file is copied before the end of the view is noticed.
const pieceSize = 16 << 20

// copyContent copies files by copy_file_range(2).
func copyContent(ctx context.Context, to io.Writer, from io.Reader) error {
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		switch _, err := io.CopyN(to, from, pieceSize); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}
