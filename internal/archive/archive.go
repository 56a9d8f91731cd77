// Package archive packs files into archives and extracts them again: zip (also with zstd inside) and
// tar+zstd in both directions, gzip and raw for writing, tar+gzip for reading.
//
// # Compatibility
//
// Archives are exchanged with GitLab Runner and GitLab in both directions. Zip entries carry what
// GitLab Runner's carry: Unix modes, the extended timestamp (0x5455), owner (0x7875), UTF-8 names,
// symbolic links as entries with their target as content. Tar archives are a sequence of zstd frames
// that together hold one tar stream.
// Source: gitlab-runner helpers/archives and commands/helpers/archive.
//
// # Safety
//
// Everything happens beneath an *os.Root. Parent directories are resolved by the kernel
// (openat2, RESOLVE_BENEATH) or, where that call is not available, by os.Root; the last component
// is never followed. Entries with absolute names or names that climb out, and hard links, are
// refused; devices, sockets and pipes are skipped. Setuid, setgid and sticky bits are dropped.
//
// # Concurrency
//
// Create and Extract use Options.Workers goroutines and return when all of them have ended. Memory
// is bounded by a few MiB a worker, whatever the sizes of files and archive.
package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Format is a kind of archive.
type Format string

// The formats. The names are those of GitLab's artifact_format and of CACHE_COMPRESSION_FORMAT.
const (
	Zip     Format = "zip"
	ZipZstd Format = "zipzstd" // zip with zstd instead of deflate (method 93)
	TarZstd Format = "tarzstd"
	TarGzip Format = "targzip" // Extract only
	Gzip    Format = "gzip"    // Create only: one gzip member a file
	Raw     Format = "raw"     // Create only: the bytes of exactly one file
)

// Level says how much time compression may take.
type Level string

// The levels, as in CACHE_COMPRESSION_LEVEL and ARTIFACT_COMPRESSION_LEVEL.
const (
	Fastest Level = "fastest" // zip: not compressed at all
	Fast    Level = "fast"
	Default Level = "default"
	Slow    Level = "slow"
	Slowest Level = "slowest"
)

// ParseLevel returns the level that name means. An empty name is Default; ok is false, and the level
// Default, when there is no such level.
func ParseLevel(name string) (level Level, ok bool) {
	switch l := Level(strings.ToLower(name)); l {
	case Fastest, Fast, Default, Slow, Slowest:
		return l, true
	case "":
		return Default, true
	default:
		return Default, false
	}
}

// ErrUnsafe marks an archive that was refused because an entry wants to go where it must not.
var ErrUnsafe = errors.New("not allowed in an archive")

// ErrTooLarge marks an archive whose size or content is beyond Options.MaxBytes.
var ErrTooLarge = errors.New("size limit exceeded")

// ErrTooManyFiles is returned when several files are to become one raw archive.
var ErrTooManyFiles = errors.New("only one file can be sent as raw")

// Options are the settings of Create and Extract; the zero value packs a zip at the default level.
type Options struct {
	Format  Format // empty: Zip for Create, detected for Extract
	Level   Level  // Create; empty means Default
	Workers int    // 0: as many as the process has processors
	// MaxBytes limits the size of the archive (Create) or of what comes out of it (Extract); 0 no limit.
	MaxBytes int64
	// Owner makes Extract give files the owner that a zip's or tar's entry names, where it may.
	Owner bool
	// Warn, when set, is told of entries that were left out, one line a call, without a newline.
	// Calls never overlap.
	Warn func(line string)
}

// Stats says what was packed or extracted.
type Stats struct {
	Files int   // entries: files, directories and links
	Bytes int64 // content of the files, not compressed
	Size  int64 // of the archive
}

// Create writes an archive of files to w. Names in files are slash-separated and relative to root;
// directories stand for themselves only, symbolic links are not followed. A file that has vanished or
// is no regular file, directory or link is left out with a warning. Gzip and Raw refuse everything but
// regular files. On error w holds part of an archive.
func Create(ctx context.Context, w io.Writer, root *os.Root, files []string, o Options) (Stats, error) {
	out := &counter{w: w, max: o.MaxBytes}
	for _, name := range files {
		if _, err := cleanName(name); err != nil {
			return Stats{}, err
		}
	}
	var st Stats
	var err error
	switch o.Format {
	case "", Zip, ZipZstd, TarZstd:
		st, err = pack(ctx, out, root, files, o)
	case Gzip:
		st, err = packGzip(ctx, out, root, files, o)
	case Raw:
		st, err = packRaw(ctx, out, root, files)
	default:
		err = fmt.Errorf("archive format %q cannot be written; use zip, zipzstd, tarzstd, gzip or raw", o.Format)
	}
	st.Size = out.n
	return st, noSpace(err, "the archive")
}

// Extract extracts an archive of size bytes into root. Files that exist are replaced (not written
// through: other names of the same file keep their content), directories are merged, other files stay.
// Of several entries with one name the last one wins. On error part of the archive has been extracted,
// except that ErrUnsafe in a zip comes before anything is written.
func Extract(ctx context.Context, r io.ReaderAt, size int64, root *os.Root, o Options) (Stats, error) {
	format := o.Format
	if format == "" {
		var err error
		if format, err = Detect(r); err != nil {
			return Stats{}, err
		}
	}
	var st Stats
	var err error
	switch format {
	case Zip, ZipZstd:
		st, err = extractZip(ctx, r, size, root, o)
	case TarZstd, TarGzip:
		st, err = extractTar(ctx, r, size, root, format, o)
	default:
		err = fmt.Errorf("archive format %q cannot be extracted; use zip, zipzstd or tarzstd", format)
	}
	st.Size = size
	return st, noSpace(err, root.Name())
}

// Detect says of which format an archive is by its first bytes: TarZstd, TarGzip, or Zip for
// everything else, as GitLab Runner has it.
func Detect(r io.ReaderAt) (Format, error) {
	var magic [4]byte
	n, err := r.ReadAt(magic[:], 0)
	if err != nil && err != io.EOF {
		return "", fmt.Errorf("read archive: %w", err)
	}
	switch {
	case bytes.HasPrefix(magic[:n], []byte{0x28, 0xb5, 0x2f, 0xfd}):
		return TarZstd, nil
	case bytes.HasPrefix(magic[:n], []byte{0x1f, 0x8b}):
		return TarGzip, nil
	default:
		return Zip, nil
	}
}

func (o *Options) workers() int {
	if o.Workers > 0 {
		return o.Workers
	}
	return runtime.GOMAXPROCS(0)
}

// noSpace says what to do about a full disk.
func noSpace(err error, where string) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fmt.Errorf("there is no room for %s: %w; free space on its volume or choose fewer files", where, err)
	}
	return err
}

// counter counts what goes through it and stops at max bytes (0: never).
type counter struct {
	w      io.Writer
	n, max int64
}

func (c *counter) Write(p []byte) (int, error) {
	if c.max > 0 && c.n+int64(len(p)) > c.max {
		return 0, fmt.Errorf("the archive is larger than %d bytes: %w", c.max, ErrTooLarge)
	}
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// cleanName returns an entry's name in its shortest form, without a slash at the end. Names that
// are absolute, climb out or hold a NUL are refused.
func cleanName(name string) (string, error) {
	if !filepath.IsLocal(name) || strings.IndexByte(name, 0) >= 0 {
		return "", fmt.Errorf("entry %q is outside of the directory: %w", name, ErrUnsafe)
	}
	return path.Clean(name), nil
}
