package nixpush

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"syscall"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"
)

// pack writes a path's archive to a file, and checks it on its way.
func (p *Pusher) pack(ctx context.Context, from Source, path Path, to io.Writer) (archive, error) {
	w := begin(ctx, cmp.Or(p.patience, usualPatience), 0)
	a, err := p.packWatched(w, from, path, to)
	if err = w.end(err); errors.Is(err, syscall.ENOSPC) {
		err = &RefusedError{err}
	}
	if errors.Is(err, errStalled) {
		err = fmt.Errorf("read its archive: %w", err)
	}
	return a, err
}

func (p *Pusher) packWatched(watch *watch, from Source, path Path, to io.Writer) (archive, error) {
	r, err := from.Open(watch.ctx, path)
	if err != nil {
		return archive{}, err
	}
	defer r.Close()
	packed, content := &meter{w: to, room: p.room, hash: sha256.New()}, sha256.New()
	a := archive{compression: "none"}
	var w io.WriteCloser = unpacked{packed}
	suffix := ""
	if !p.Plain {
		a.compression, suffix = "zstd", ".zst"
		if w, err = zstd.NewWriter(packed, zstd.WithEncoderConcurrency(1)); err != nil {
			return a, err
		}
	}
	n, err := io.Copy(io.MultiWriter(w, content), io.LimitReader(&taken{r, watch}, path.Size+1))
	if err = errors.Join(err, w.Close()); err != nil {
		return a, fmt.Errorf("read its archive: %w", err)
	}
	if n < path.Size {
		return a, fmt.Errorf("read its archive: it ends after %d of %d bytes: %w", n, path.Size, io.ErrUnexpectedEOF)
	}
	if got := hex.EncodeToString(content.Sum(nil)); n > path.Size || got != path.Hash {
		return a, &PathError{path.Path, fmt.Errorf("its content is not what the store's database says (hash %s instead of %s): `nix-store --verify --check-contents` finds what is damaged", got, path.Hash)}
	}
	a.hash, a.size = packed.hash.Sum(nil), packed.n
	a.name = "nar/" + base32(a.hash) + ".nar" + suffix
	return a, nil
}

// meter counts and hashes what is written, and asks now and then for room.
type meter struct {
	w    io.Writer
	room func() error
	hash hash.Hash
	n    int64
}

func (m *meter) Write(b []byte) (int, error) {
	if (m.n+int64(len(b)))/askEvery > m.n/askEvery {
		if err := m.room(); err != nil {
			return 0, err
		}
	}
	n, err := m.w.Write(b)
	m.hash.Write(b[:n])
	m.n += int64(n)
	return n, err
}

const (
	// askEvery is after how many bytes of an archive it is asked again whether there is room, and spare what is left to others then:
	// the runner's own state is on the same disk, most likely.
	askEvery = 64 << 20
	spare    = 512 << 20
	// spareShare is the part of a small disk that is left.
	spareShare = 20
)

// room reports that the place where archives lie has too little for a large one.
func (p *Pusher) room() error {
	dir, measure := cmp.Or(p.Dir, os.TempDir()), p.measure
	if measure == nil {
		measure = freeOf
	}
	free, total, err := measure(dir)
	if err != nil {
		return fmt.Errorf("free space of %s: %w", dir, err)
	}
	if least := min(spare, total/spareShare); free < least {
		return &RefusedError{fmt.Errorf("%d MiB are free in %s, where archives lie until they are sent, and %d are left to others", free>>20, dir, least>>20)}
	}
	return nil
}

func freeOf(dir string) (free, total int64, err error) {
	var f unix.Statfs_t
	err = unix.Statfs(dir, &f)
	return int64(f.Bavail) * f.Bsize, int64(f.Blocks) * f.Bsize, err //nolint:gosec // no disk is that large
}

// unpacked is a writer that needs no end.
type unpacked struct{ io.Writer }

// Close implements io.Closer.
func (unpacked) Close() error { return nil }
