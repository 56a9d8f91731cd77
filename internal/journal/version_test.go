package journal

import (
	"encoding/binary"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"

	"gitlab.com/skerry/skerry/internal/job"
)

// dump is a journal file in a form that can be read in a review: bucket, key, value.
type dump map[string]map[string]string

func goldenRecords() []Record {
	accepted := sample("0123456789abcdef/00000000000000aa")
	finished := sample("0123456789abcdef/00000000000000bb")
	finished.State = Finished
	finished.Ended = time.Date(2026, 1, 2, 3, 9, 0, 0, time.UTC)
	finished.Result = &job.Result{State: job.Failed, Reason: job.ReasonScript, ExitCode: 3, Message: "exit code 3"}
	finished.Trace = Trace{Size: 1234, CRC32: 0xdeadbeef, Sent: 1000, Complete: true, File: "bb.trace", Dropped: 5}
	return []Record{accepted, finished}
}

func goldenKept() Kept {
	rec := sample("0123456789abcdef/00000000000000cc")
	rec.Payload, rec.Runner, rec.Secrets, rec.Extra = nil, nil, nil, nil
	rec.State = Finished
	return Kept{Record: stored(rec), Why: "GitLab dropped the job", Expires: time.Date(2026, 1, 9, 0, 0, 0, 0, time.UTC)}
}

// TestVersion1 opens what version 1 wrote. The golden file must never be written again once a
// release has written version 1; a new version gets a new one with -update.
func TestVersion1(t *testing.T) {
	t.Parallel()
	golden := filepath.Join("testdata", "version1.json")
	if *update && Version == 1 {
		writeDump(t, golden)
	}
	b, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	var d dump
	if err := json.Unmarshal(b, &d); err != nil {
		t.Fatal(err)
	}
	dir := stateDir(t)
	restore(t, dir, d)
	j := open(t, dir)
	if j.Owner() != "0123456789abcdef" || j.Epoch() != 8 {
		t.Errorf("owner %s epoch %d", j.Owner(), j.Epoch())
	}
	all, err := j.All()
	if err != nil {
		t.Fatal(err)
	}
	var want []Record
	for _, r := range goldenRecords() {
		want = append(want, stored(r))
	}
	if diff := cmp.Diff(want, all); diff != "" {
		t.Error(diff)
	}
	kept, err := j.AllKept()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Kept{goldenKept()}, kept); diff != "" {
		t.Error(diff)
	}
}

var update = flag.Bool("update", false, "write the golden files")

func writeDump(t *testing.T, path string) {
	t.Helper()
	j := open(t, stateDir(t))
	for _, r := range goldenRecords() {
		if err := j.Put(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	kept := goldenKept()
	rec := kept.Record
	if err := j.Put(t.Context(), rec); err != nil {
		t.Fatal(err)
	}
	if err := j.Keep(t.Context(), rec.Ref, kept.Why, kept.Expires); err != nil {
		t.Fatal(err)
	}
	d := dump{}
	err := j.view(func(tx *bolt.Tx) error {
		return tx.ForEach(func(name []byte, b *bolt.Bucket) error {
			m := map[string]string{}
			d[string(name)] = m
			return b.ForEach(func(k, v []byte) error {
				m[string(k)] = string(v)
				return nil
			})
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	d[bucketMeta] = map[string]string{
		keyOwner:   "0123456789abcdef",
		keyVersion: string(binary.BigEndian.AppendUint64(nil, Version)),
		keyEpoch:   string(binary.BigEndian.AppendUint64(nil, 7)),
	}
	b, err := json.MarshalIndent(d, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(b, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}

func restore(t *testing.T, dir string, d dump) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	change(t, dir, func(tx *bolt.Tx) error {
		for name, m := range d {
			b, err := tx.CreateBucketIfNotExists([]byte(name))
			if err != nil {
				return err
			}
			for k, v := range m {
				if err := b.Put([]byte(k), []byte(v)); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

func TestForeignBoltFileIsRefused(t *testing.T) {
	t.Parallel()
	dir := stateDir(t)
	restore(t, dir, dump{bucketMeta: {"something": "else"}})
	if _, err := Open(dir, Options{}); err == nil {
		t.Error("a file of another program was opened")
	}
}

// FuzzDecode: whatever is stored, decode returns a record that can be stored again and read back the
// same, or an error.
func FuzzDecode(f *testing.F) {
	for _, r := range goldenRecords() {
		enc, err := encode(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(r.Ref, enc.core, enc.sealed, enc.payload)
	}
	f.Add("a", []byte(`{"version":2,"ref":"a","state":"accepted"}`), []byte(nil), []byte(nil))
	f.Add("a", []byte(`{"version":1,"ref":"a","state":"accepted","result":{}}`), []byte(`{"runner":[]}`), []byte("x"))
	f.Fuzz(func(t *testing.T, ref string, core, apart, payload []byte) {
		rec, err := decode(ref, core, apart, payload)
		if err != nil {
			return
		}
		enc, err := encode(rec)
		if err != nil {
			if checkRef(ref) == nil && rec.Deadline.Year() < 9999 {
				t.Fatalf("what was read cannot be stored: %v", err)
			}
			return
		}
		again, err := decode(ref, enc.core, enc.sealed, enc.payload)
		if err != nil {
			t.Fatalf("read back: %v", err)
		}
		if again.Ref != rec.Ref || again.State != rec.State || again.JobID != rec.JobID || !again.Deadline.Equal(rec.Deadline) {
			t.Errorf("%+v became %+v", rec, again)
		}
	})
}
