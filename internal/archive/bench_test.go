package archive_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/archive"
)

// benchDir returns a directory in memory where there is one.
func benchDir(b *testing.B) string {
	b.Helper()
	if _, err := os.Stat("/dev/shm"); err != nil {
		return b.TempDir()
	}
	dir, err := os.MkdirTemp("/dev/shm", "skerry-bench")
	must(b, err)
	b.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// smallFiles makes 20,000 files like those of a package cache: 1.5 KiB of text in the middle, few large.
func smallFiles(b *testing.B, dir string) {
	r := rand.New(rand.NewPCG(3, 4))
	for i := range 20_000 {
		d := filepath.Join(dir, fmt.Sprintf("pkg%03d/lib%d", i/40, i%3))
		must(b, os.MkdirAll(d, 0o755))
		size := 200 + int(r.ExpFloat64()*3500)
		must(b, os.WriteFile(filepath.Join(d, fmt.Sprintf("file%05d.js", i)), text(r, size), 0o644))
	}
}

// mixedFiles makes 1 GiB of which half does not compress, in files of 4 KiB to 128 MiB.
func mixedFiles(b *testing.B, dir string) {
	r := rand.New(rand.NewPCG(5, 6))
	block, hard := text(r, 4<<20), noise(r, 4<<20)
	left := 1 << 30
	for i := 0; left > 0; i++ {
		size := min(left, 4<<10<<(i%16))
		f, err := os.Create(filepath.Join(dir, fmt.Sprintf("file%04d", i)))
		must(b, err)
		for n := 0; n < size; {
			src := block
			if i/16%2 == 1 {
				src = hard
			}
			at := r.IntN(len(src) / 2)
			k, err := f.Write(src[at : at+min(size-n, len(src)/2)])
			must(b, err)
			n += k
		}
		must(b, f.Close())
		left -= size
	}
}

func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func benchPack(b *testing.B, fill func(*testing.B, string), o archive.Options) {
	dir, out := benchDir(b), benchDir(b)
	fill(b, dir)
	root, list := openRoot(b, dir), names(snapshotNames(b, dir))
	b.ResetTimer()
	start := cpu()
	for b.Loop() {
		f, err := os.Create(filepath.Join(out, "archive"))
		must(b, err)
		st, err := archive.Create(context.Background(), f, root, list, o)
		must(b, err)
		must(b, f.Close())
		b.ReportMetric(float64(st.Size)/float64(st.Bytes), "ratio")
	}
	b.ReportMetric((cpu()-start).Seconds()/float64(b.N), "cpu-s/op")
	b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s/op")
}

func benchUnpack(b *testing.B, fill func(*testing.B, string), o archive.Options) {
	dir, out := benchDir(b), benchDir(b)
	fill(b, dir)
	var buf bytes.Buffer
	_, err := archive.Create(context.Background(), &buf, openRoot(b, dir), names(snapshotNames(b, dir)), o)
	must(b, err)
	must(b, os.RemoveAll(dir))
	file := filepath.Join(out, "archive")
	must(b, os.WriteFile(file, buf.Bytes(), 0o600))
	f, err := os.Open(file)
	must(b, err)
	defer f.Close()
	size := int64(buf.Len())
	buf = bytes.Buffer{}
	var used time.Duration
	b.ResetTimer()
	for n := 0; b.Loop(); n++ {
		b.StopTimer()
		to := filepath.Join(out, fmt.Sprint(n))
		must(b, os.Mkdir(to, 0o755))
		root := openRoot(b, to)
		b.StartTimer()
		start := cpu()
		_, err := archive.Extract(context.Background(), f, size, root, archive.Options{})
		used += cpu() - start
		must(b, err)
		b.StopTimer()
		must(b, os.RemoveAll(to))
		b.StartTimer()
	}
	b.ReportMetric(used.Seconds()/float64(b.N), "cpu-s/op")
	b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s/op")
}

// snapshotNames is snapshot without the contents.
func snapshotNames(b *testing.B, dir string) map[string]node {
	got := make(map[string]node)
	must(b, filepath.WalkDir(dir, func(p string, _ os.DirEntry, err error) error {
		if rel, _ := filepath.Rel(dir, p); rel != "." {
			got[rel] = node{}
		}
		return err
	}))
	return got
}

var benchCases = []archive.Options{
	{Format: archive.Zip, Level: archive.Fastest},
	{Format: archive.Zip, Level: archive.Fast},
	{Format: archive.Zip, Level: archive.Default},
	{Format: archive.TarZstd, Level: archive.Fast},
	{Format: archive.TarZstd, Level: archive.Default},
}

func BenchmarkPackSmall(b *testing.B)   { benchAll(b, benchPack, smallFiles) }
func BenchmarkPackMixed(b *testing.B)   { benchAll(b, benchPack, mixedFiles) }
func BenchmarkUnpackSmall(b *testing.B) { benchAll(b, benchUnpack, smallFiles) }
func BenchmarkUnpackMixed(b *testing.B) { benchAll(b, benchUnpack, mixedFiles) }

func benchAll(b *testing.B, run func(*testing.B, func(*testing.B, string), archive.Options), fill func(*testing.B, string)) {
	for _, o := range benchCases {
		b.Run(fmt.Sprintf("%s-%s", o.Format, o.Level), func(b *testing.B) { run(b, fill, o) })
	}
}
