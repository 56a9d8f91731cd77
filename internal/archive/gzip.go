package archive

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"os"
	"path"
	"strings"
	"time"
	"unicode"

	"github.com/klauspost/compress/gzip"
	"golang.org/x/sys/unix"

	"gitlab.com/skerry/skerry/internal/archive/beneath"
)

func gzipLevel(l Level) int {
	return map[Level]int{Fastest: 1, Fast: 1, Default: 2, Slow: 6, Slowest: 9}[l]
}

// packGzip writes each file as a gzip member of its own with its base name as name and its path as
// comment, which is what GitLab expects of reports.
func packGzip(ctx context.Context, w io.Writer, root *os.Root, files []string, o Options) (Stats, error) {
	level := o.Level
	if level == "" {
		level = Default
	}
	gz, err := gzip.NewWriterLevel(w, gzipLevel(level))
	if err != nil {
		return Stats{}, err
	}
	var st Stats
	for _, name := range files {
		n, err := copyFile(ctx, root, name, func(it *item) io.Writer {
			gz.Reset(w)
			gz.Name = gzipText(path.Base(it.name))
			gz.Comment = gzipText(it.name)
			gz.ModTime = time.Unix(it.st.Mtim.Unix())
			return gz
		})
		if os.IsNotExist(err) {
			if o.Warn != nil {
				o.Warn(fmt.Sprintf("File ignored: %v", err))
			}
			continue
		}
		if err == nil {
			err = gz.Close()
		}
		if err != nil {
			return st, err
		}
		st.Files++
		st.Bytes += n
	}
	return st, nil
}

// gzipText makes a header field of a path. Fields are Latin-1, so that what is not ASCII is escaped
// and marked with "e:", as GitLab Runner does.
func gzipText(s string) string {
	special := func(r rune) bool { return r > unicode.MaxASCII || r == '%' }
	if !strings.ContainsFunc(s, special) {
		return s
	}
	return "e:" + url.PathEscape(s)
}

// packRaw copies the only file.
func packRaw(ctx context.Context, w io.Writer, root *os.Root, files []string) (Stats, error) {
	switch len(files) {
	case 0:
		return Stats{}, nil
	case 1:
		n, err := copyFile(ctx, root, files[0], func(*item) io.Writer { return w })
		return Stats{Files: 1, Bytes: n}, err
	default:
		return Stats{}, fmt.Errorf("%d files: %w", len(files), ErrTooManyFiles)
	}
}

// copyFile copies a regular file to the writer that to returns.
func copyFile(ctx context.Context, root *os.Root, name string, to func(*item) io.Writer) (int64, error) {
	t, err := beneath.New(root)
	if err != nil {
		return 0, err
	}
	defer t.Close()
	it := item{name: path.Clean(name)}
	if err := t.Lstat(it.name, &it.st); err != nil {
		return 0, err
	}
	if it.st.Mode&unix.S_IFMT != unix.S_IFREG {
		return 0, fmt.Errorf("the %q is not a regular file", name)
	}
	fd, err := t.OpenSame(it.name, &it.st)
	if err != nil {
		return 0, err
	}
	f := os.NewFile(uintptr(fd), it.name)
	defer f.Close()
	return io.Copy(to(&it), &ctxReader{ctx: ctx, r: f})
}

// ctxReader ends with the context.
type ctxReader struct {
	ctx context.Context //nolint:containedctx // lives for one call
	r   io.Reader
}

func (c *ctxReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(p)
}

// gunzip reads a gzip stream.
func gunzip(r io.Reader) (io.Reader, error) {
	z, err := gzip.NewReader(r)
	if err != nil {
		return nil, fmt.Errorf("read gzip: %w", err)
	}
	return z, nil
}
