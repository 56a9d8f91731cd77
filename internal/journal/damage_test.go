package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// filled makes a state directory with a journal of n records and returns owner and epoch.
func filled(t *testing.T, n int) (dir, owner string, epoch int64) {
	t.Helper()
	dir = stateDir(t)
	j := open(t, dir)
	for i := range n {
		rec := sample(fmt.Sprintf("o/%04d", i))
		rec.Payload = bytes.Repeat([]byte("x"), 3000)
		if err := j.Put(t.Context(), rec); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, j.Owner(), j.Epoch()
}

func TestDamagedFileIsMovedAside(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func([]byte) []byte{
		"garbage":   func(b []byte) []byte { return bytes.Repeat([]byte("garbage!"), len(b)/8) },
		"short":     func([]byte) []byte { return []byte("x") },
		"truncated": func(b []byte) []byte { return b[:3*os.Getpagesize()] },
		"both metas": func(b []byte) []byte {
			clear(b[16 : 2*os.Getpagesize()])
			return b
		},
		"pages": func(b []byte) []byte {
			for i := 2 * os.Getpagesize(); i < len(b); i++ {
				b[i] = 0xff
			}
			return b
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, owner, epoch := filled(t, 20)
			path := filepath.Join(dir, fileName)
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			b = damage(b)
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			var log bytes.Buffer
			j, err := Open(dir, Options{Logger: logTo(&log)})
			if err != nil {
				t.Fatal(err)
			}
			defer j.Close()
			if !strings.Contains(log.String(), "level=ERROR") || !strings.Contains(log.String(), j.Damaged()) {
				t.Errorf("log: %s", log.String())
			}
			if aside, err := os.ReadFile(j.Damaged()); err != nil || !bytes.Equal(aside, b) {
				t.Errorf("the damaged file was not kept as it was: %v", err)
			}
			if j.Owner() != owner || j.Epoch() != epoch+1 {
				t.Errorf("owner %s epoch %d became %s %d", owner, epoch, j.Owner(), j.Epoch())
			}
			if err := j.Put(t.Context(), sample("new")); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestFlippedBytesNeverPanic damages single bytes all over the file: Open must either accept the
// file (a byte that nothing reads) or move it aside or set records aside, and must be usable.
func TestFlippedBytesNeverPanic(t *testing.T) {
	t.Parallel()
	dir, _, _ := filled(t, 5)
	path := filepath.Join(dir, fileName)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	used := min(len(whole), 24*os.Getpagesize())
	for range 60 {
		b := bytes.Clone(whole)
		for range 1 + random.IntN(4) {
			b[random.IntN(used)] ^= byte(1 + random.IntN(255))
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		j, err := Open(dir, Options{})
		if err != nil {
			var version *VersionError
			if !errors.As(err, &version) && !strings.Contains(err.Error(), "says no version") {
				t.Errorf("Open: %v", err)
			}
			continue
		}
		if _, err := j.All(); err != nil {
			t.Errorf("All: %v", err)
		}
		if err := j.Put(t.Context(), sample("new")); err != nil {
			t.Errorf("Put: %v", err)
		}
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	}
}

func change(t *testing.T, dir string, fn func(*bolt.Tx) error) {
	t.Helper()
	db, err := bolt.Open(filepath.Join(dir, fileName), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Update(fn), db.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestUnreadableRecordIsSetAside(t *testing.T) {
	t.Parallel()
	dir, _, _ := filled(t, 3)
	change(t, dir, func(tx *bolt.Tx) error {
		return bucket(tx, bucketJobs).Put([]byte("o/0001"), []byte(`{"version":1,"ref":"o/00`))
	})
	var log bytes.Buffer
	j, err := Open(dir, Options{Logger: logTo(&log)})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if all, err := j.All(); err != nil || len(all) != 2 {
		t.Errorf("%d records, %v", len(all), err)
	}
	if !strings.Contains(log.String(), "o/0001") || !strings.Contains(log.String(), "level=ERROR") {
		t.Errorf("log: %s", log.String())
	}
	err = j.view(func(tx *bolt.Tx) error {
		if bucket(tx, bucketUnreadable).Get([]byte("o/0001")) == nil {
			t.Error("the unreadable record was not kept")
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestNewerVersionIsRefusedUntouched(t *testing.T) {
	t.Parallel()
	for name, fn := range map[string]func(*bolt.Tx) error{
		"file": func(tx *bolt.Tx) error {
			return bucket(tx, bucketMeta).Put([]byte(keyVersion), binary.BigEndian.AppendUint64(nil, Version+1))
		},
		"record": func(tx *bolt.Tx) error {
			return bucket(tx, bucketJobs).Put([]byte("o/0001"), []byte(`{"version":2,"ref":"o/0001","state":"accepted"}`))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, _, _ := filled(t, 3)
			change(t, dir, fn)
			path := filepath.Join(dir, fileName)
			before, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			_, err = Open(dir, Options{})
			var version *VersionError
			if !errors.As(err, &version) || version.Found != Version+1 {
				t.Fatalf("Open: %v", err)
			}
			after, err := os.ReadFile(path)
			if err != nil || !bytes.Equal(before, after) {
				t.Errorf("the file has changed, %v", err)
			}
		})
	}
}
