package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"gitlab.com/skerry/skerry/internal/archive"
)

// kind is a format with its goals in seconds; 0 is none. At the level fastest they are the times of GitLab
// Runner's best setting, at the default level those of its default.
type kind struct {
	format       archive.Format
	level        archive.Level
	name         string
	pack, unpack float64
}

func archiveSmall(ctx context.Context, s *settings, out *report) error {
	return archives(ctx, s, out, "small", fillSmall, []kind{
		{archive.Zip, archive.Fastest, "zip-fastest", 1.3, 0.54},
		{archive.TarZstd, archive.Fastest, "tarzst-fastest", 1.0, 0},
		{archive.Zip, archive.Default, "zip", 2.5, 1.0},
		{archive.TarZstd, archive.Default, "tarzst", 0, 0},
	})
}

func archiveMixed(ctx context.Context, s *settings, out *report) error {
	return archives(ctx, s, out, "mixed", fillMixed, []kind{
		{archive.Zip, archive.Fastest, "zip-fastest", 2.6, 1.1},
		{archive.TarZstd, archive.Fastest, "tarzst-fastest", 1.6, 0},
		{archive.Zip, archive.Default, "zip", 10.5, 2.3},
		{archive.TarZstd, archive.Default, "tarzst", 0, 0},
	})
}

// rounds is how often each tree goes through each format; the shortest times count. In a virtual machine the
// first use of memory costs many times what any later one does: its host has to find the pages.
const rounds = 2

// archives packs and unpacks one tree in each of the formats, in turn with the floors. Where memory is
// scarce the tree is smaller, and the goals with it.
func archives(ctx context.Context, s *settings, out *report, tree string, fill func(dir string, share float64) error, kinds []kind) error {
	base, share, note := memoryDir(s)
	dir, err := os.MkdirTemp(base, "skerry-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	src := filepath.Join(dir, "tree")
	if err := fill(src, share); err != nil {
		return err
	}
	for _, k := range kinds {
		var floor, best span
		for range rounds {
			if err := floor.best(archiveFloors(ctx, dir, src)); err != nil {
				return err
			}
			if err := best.best(roundTrip(ctx, dir, src, k)); err != nil {
				return fmt.Errorf("%s: %w", k.name, err)
			}
		}
		name := "archive-" + tree + "-" + k.name
		out.add(figure{name: name + "-pack", value: best.pack.Seconds(), unit: "s", floor: floor.pack.Seconds(), goal: within(k.pack, share), note: note})
		out.add(figure{name: name + "-unpack", value: best.unpack.Seconds(), unit: "s", floor: floor.unpack.Seconds(), goal: within(k.unpack, share), note: note})
	}
	return nil
}

// span is how long packing and unpacking took.
type span struct{ pack, unpack time.Duration }

// best keeps the shorter times.
func (s *span) best(pack, unpack time.Duration, err error) error {
	if err != nil {
		return err
	}
	if s.pack == 0 || pack < s.pack {
		s.pack = pack
	}
	if s.unpack == 0 || unpack < s.unpack {
		s.unpack = unpack
	}
	return nil
}

func within(limit, share float64) *goal {
	if limit == 0 {
		return nil
	}
	return &goal{limit: limit * share}
}

// archiveFloors are reading the whole tree (tar into cat) and writing it anew (cp).
func archiveFloors(ctx context.Context, dir, src string) (pack, unpack time.Duration, err error) {
	start := time.Now()
	if err := command(ctx, src, os.Environ(), "bash", "-c", "set -o pipefail; tar cf - . | cat >/dev/null"); err != nil {
		return 0, 0, err
	}
	pack = time.Since(start)
	to := filepath.Join(dir, "copy")
	start = time.Now()
	if err := command(ctx, dir, os.Environ(), "cp", "-r", src, to); err != nil {
		return 0, 0, err
	}
	return pack, time.Since(start), os.RemoveAll(to)
}

// roundTrip packs, unpacks, and checks that as much came out as went in.
func roundTrip(ctx context.Context, dir, src string, k kind) (packed, unpacked time.Duration, err error) {
	names, err := list(src)
	if err != nil {
		return 0, 0, err
	}
	to := filepath.Join(dir, "unpacked")
	if err := os.Mkdir(to, 0o755); err != nil {
		return 0, 0, err
	}
	defer os.RemoveAll(to)
	from, err := os.OpenRoot(src)
	if err != nil {
		return 0, 0, err
	}
	defer from.Close()
	into, err := os.OpenRoot(to)
	if err != nil {
		return 0, 0, err
	}
	defer into.Close()
	path := filepath.Join(dir, "archive")
	f, err := os.Create(path)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(path)) }()
	start := time.Now()
	in, err := archive.Create(ctx, f, from, names, archive.Options{Format: k.format, Level: k.level})
	packed = time.Since(start)
	if err != nil {
		return 0, 0, err
	}
	start = time.Now()
	got, err := archive.Extract(ctx, f, in.Size, into, archive.Options{})
	unpacked = time.Since(start)
	if err == nil && got.Bytes != in.Bytes {
		err = fmt.Errorf("%d bytes went in and %d came out", in.Bytes, got.Bytes)
	}
	return packed, unpacked, err
}

func list(dir string) ([]string, error) {
	var names []string
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err == nil && path != dir {
			names = append(names, path[len(dir)+1:])
		}
		return err
	})
	return names, err
}

// memoryDir chooses where archives are measured, and which share of the full size fits: tree, copy
// and archive of 1 GiB are at most 3 GiB, and the rest of the machine needs memory too.
func memoryDir(s *settings) (dir string, share float64, note string) {
	dir = "/dev/shm"
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil || st.Type != unix.TMPFS_MAGIC {
		return s.dir, 1, "no tmpfs at /dev/shm: on disk"
	}
	const need = 5 << 30
	free := float64(st.Bavail) * float64(st.Bsize)
	if kib, err := strconv.ParseFloat(strings.TrimSuffix(field("/proc/meminfo", "MemAvailable"), " kB"), 64); err == nil {
		free = min(free, kib*1024)
	}
	if free >= need {
		return dir, 1, ""
	}
	share = max(0.02, free/need)
	return dir, share, fmt.Sprintf("memory is scarce: %.0f %% of the size and of the goal", share*100)
}
