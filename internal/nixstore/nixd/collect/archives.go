package collect

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"

	"gitlab.com/skerry/skerry/internal/nixstore/nixd/volumes"
	"gitlab.com/skerry/skerry/internal/nixstore/nixwire"
)

// archiveBuffer is how much of archives is written at once.
const archiveBuffer = 128 << 10

// Archives writes the archive of each path that in names on a line of its own, until in ends: a framed stream, and after it
// a string with what is wrong with the path, empty when nothing is. What may go well another time, such as a program that was
// killed, ends it in the middle of an archive. Paths are those of Pending; they are held by the queue.
func Archives(ctx context.Context, l volumes.Layout, in io.Reader, out io.Writer) error {
	nix, err := volumes.FindNix(l, "")
	if err != nil {
		return err
	}
	w := nixwire.NewWriter(out, archiveBuffer)
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		frames := nixwire.NewFrameWriter(w)
		err := dump(ctx, nix, lines.Text(), frames)
		if err != nil && !isFinal(err) {
			return err
		}
		frames.End()
		said := ""
		if err != nil {
			said = err.Error()
		}
		w.String(said)
		if err := w.Flush(); err != nil {
			return err
		}
	}
	return lines.Err()
}

// errNoPath is a line that names none.
var errNoPath = errors.New("is no store path")

// isFinal reports whether an error would come again: the program itself has found it.
func isFinal(err error) bool {
	var exit *exec.ExitError
	return errors.Is(err, errNoPath) || errors.As(err, &exit) && exit.Exited()
}

func dump(ctx context.Context, nix volumes.Program, path string, out io.Writer) error {
	if b := volumes.Basename(path); b == "" || volumes.StoreDir+"/"+b != path {
		return fmt.Errorf("%q %w", path, errNoPath)
	}
	return nix.Stream(ctx, nil, out, "nix-store", "--dump", path)
}
