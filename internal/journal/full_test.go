package journal

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// fullDirEnv makes this test binary play the process whose disk is full: the limit on the size of
// files is the process's own, so it needs one.
const fullDirEnv = "SKERRY_TEST_FULL_DIR"

func TestFullDiskLeavesTheStateAsItWas(t *testing.T) {
	if dir := os.Getenv(fullDirEnv); dir != "" {
		fillDisk(t, dir)
		return
	}
	t.Parallel()
	dir := stateDir(t)
	cmd := exec.Command(os.Args[0], "-test.run=^TestFullDiskLeavesTheStateAsItWas$", "-test.v")
	cmd.Env = append(os.Environ(), fullDirEnv+"="+dir)
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("disk was full")) {
		t.Fatalf("%v\n%s", err, out)
	}
	j := open(t, dir)
	if _, err := j.Get("small"); err != nil {
		t.Error(err)
	}
}

func fillDisk(t *testing.T, dir string) {
	j := open(t, dir)
	if err := j.Put(t.Context(), sample("before")); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, fileName))
	if err != nil {
		t.Fatal(err)
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	full := limit
	full.Cur = uint64(info.Size())
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &full); err != nil {
		t.Fatal(err)
	}
	big := sample("big")
	big.Payload = bytes.Repeat([]byte("x"), 2*int(info.Size()))
	if err := j.Put(t.Context(), big); err == nil {
		t.Fatal("a record larger than the disk was accepted")
	} else {
		fmt.Println("disk was full:", err)
	}
	all, err := j.All()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Record{stored(sample("before"))}, all); diff != "" {
		t.Error(diff)
	}
	// What still fits is still recorded, also when it shares a commit with what does not.
	ops := make([]*operation, 2)
	for i, rec := range []Record{big, sample("small")} {
		enc, err := encode(rec)
		if err != nil {
			t.Fatal(err)
		}
		ops[i] = &operation{apply: enc.store, done: make(chan error, 1)}
	}
	j.commit(ops) // in one batch; the loop is idle
	if err := <-ops[0].done; err == nil {
		t.Error("the large record was accepted")
	}
	if err := <-ops[1].done; err != nil {
		t.Errorf("the small record was refused: %v", err)
	}
}

func BenchmarkPut8(b *testing.B) {
	j := open(b, stateDir(b))
	rec := sample("")
	rec.Payload = bytes.Repeat([]byte("x"), 20<<10)
	start := txID(b, j)
	b.SetParallelism(4) // of GOMAXPROCS
	var next atomic.Int64
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			rec := rec
			rec.Ref = fmt.Sprintf("o/%d", next.Add(1)%8)
			if err := j.Put(b.Context(), rec); err != nil {
				b.Error(err)
			}
		}
	})
	n := txID(b, j) - start
	b.ReportMetric(float64(b.N)/float64(n), "records/commit")
}
