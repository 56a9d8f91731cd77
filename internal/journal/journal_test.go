package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/job"
)

func open(t testing.TB, dir string) *Journal {
	t.Helper()
	j, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	})
	return j
}

func stateDir(t testing.TB) string { return filepath.Join(t.TempDir(), "state") }

func sample(ref string) Record {
	return Record{
		Ref: ref, State: Accepted, JobID: 42, RunnerKey: "abc", ConcurrentID: 1, ProjectID: 2, ProjectKey: "abc/7",
		Accepted: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC),
		Deadline: time.Date(2026, 1, 2, 4, 4, 5, 0, time.UTC),
		Extra:    json.RawMessage(`{"stage":"get_sources"}`),
		Payload:  []byte(`{"id":42}`),
		Runner:   json.RawMessage(`{"url":"https://gitlab.example"}`),
		Secrets:  json.RawMessage(`{"A":"b"}`),
	}
}

func stored(r Record) Record { r.Version = Version; return r }

func TestRecordSurvivesReopen(t *testing.T) {
	t.Parallel()
	dir := stateDir(t)
	j := open(t, dir)
	rec := sample("o/1")
	if err := j.Put(t.Context(), rec); err != nil {
		t.Fatal(err)
	}
	err := j.Update(t.Context(), "o/1", func(r *Record) error {
		r.State = Finished
		r.Result = &job.Result{State: job.Failed, Reason: job.ReasonScript, ExitCode: 3, Message: "exit 3"}
		r.Trace = Trace{Size: 10, CRC32: 7, Sent: 4}
		r.Secrets = nil
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	owner, epoch := j.Owner(), j.Epoch()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}

	j = open(t, dir)
	if j.Owner() != owner || !validOwner(owner) {
		t.Errorf("owner %q became %q", owner, j.Owner())
	}
	if j.Epoch() != epoch+1 {
		t.Errorf("epoch %d became %d", epoch, j.Epoch())
	}
	want := stored(rec)
	want.State, want.Secrets = Finished, nil
	want.Result = &job.Result{State: job.Failed, Reason: job.ReasonScript, ExitCode: 3, Message: "exit 3"}
	want.Trace = Trace{Size: 10, CRC32: 7, Sent: 4}
	got, err := j.Get("o/1")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	all, err := j.All()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Record{want}, all); diff != "" {
		t.Error(diff)
	}
	if err := j.Delete(t.Context(), "o/1"); err != nil {
		t.Fatal(err)
	}
	if _, err := j.Get("o/1"); !errors.Is(err, ErrNotFound) {
		t.Errorf("Get after Delete: %v", err)
	}
	if err := j.Delete(t.Context(), "o/1"); err != nil {
		t.Errorf("second Delete: %v", err)
	}
}

func TestUpdateThatFailsChangesNothing(t *testing.T) {
	t.Parallel()
	j := open(t, stateDir(t))
	if err := j.Put(t.Context(), sample("a")); err != nil {
		t.Fatal(err)
	}
	refused := errors.New("refused")
	for name, fn := range map[string]func(*Record) error{
		"error":         func(r *Record) error { r.JobID = 1; return refused },
		"unknown state": func(r *Record) error { r.State = "lost"; return nil },
		"invalid JSON":  func(r *Record) error { r.Extra = json.RawMessage("{"); return nil },
	} {
		if err := j.Update(t.Context(), "a", fn); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if err := j.Update(t.Context(), "b", func(*Record) error { return nil }); !errors.Is(err, ErrNotFound) {
		t.Errorf("update of a job that is not there: %v", err)
	}
	got, err := j.Get("a")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(stored(sample("a")), got); diff != "" {
		t.Error(diff)
	}
}

func TestPutRefusesWhatCannotBeRead(t *testing.T) {
	t.Parallel()
	j := open(t, stateDir(t))
	for name, rec := range map[string]Record{
		"no ref":       {State: Accepted},
		"long ref":     {State: Accepted, Ref: strings.Repeat("x", maxRef+1)},
		"no state":     {Ref: "a"},
		"broken extra": {Ref: "a", State: Accepted, Extra: json.RawMessage("nope")},
	} {
		if err := j.Put(t.Context(), rec); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestConcurrentUpdatesAllCount(t *testing.T) {
	t.Parallel()
	j := open(t, stateDir(t))
	if err := j.Put(t.Context(), sample("a")); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := range 5 {
				if err := j.Update(t.Context(), "a", func(r *Record) error { r.JobID++; return nil }); err != nil {
					t.Error(err)
				}
				if err := j.Put(t.Context(), sample(fmt.Sprintf("b/%d-%d", i, n))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	got, err := j.Get("a")
	if err != nil {
		t.Fatal(err)
	}
	if got.JobID != 42+40 {
		t.Errorf("40 updates counted %d", got.JobID-42)
	}
	if all, err := j.All(); err != nil || len(all) != 41 {
		t.Errorf("%d records, %v", len(all), err)
	}
}

func TestOneCommitServesAllThatWait(t *testing.T) {
	t.Parallel()
	j := open(t, stateDir(t))
	if err := j.Put(t.Context(), sample("a")); err != nil {
		t.Fatal(err)
	}
	before := txID(t, j)
	entered, release := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		err := j.Update(t.Context(), "a", func(*Record) error { close(entered); <-release; return nil })
		if err != nil {
			t.Error(err)
		}
	})
	<-entered // the loop is inside a commit: whatever comes now waits
	ops := make([]*operation, 8)
	for i := range ops {
		enc, err := encode(sample(fmt.Sprintf("b/%d", i)))
		if err != nil {
			t.Fatal(err)
		}
		ops[i] = &operation{apply: enc.store, done: make(chan error, 1)}
		if err := j.submit(t.Context(), ops[i]); err != nil {
			t.Fatal(err)
		}
	}
	close(release)
	wg.Wait()
	for _, op := range ops {
		if err := <-op.done; err != nil {
			t.Error(err)
		}
	}
	if n := txID(t, j) - before; n != 2 {
		t.Errorf("one update and eight records took %d commits, want 2", n)
	}
}

func txID(t testing.TB, j *Journal) int {
	t.Helper()
	tx, err := j.db.Begin(false)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	return tx.ID()
}

func TestSecondProcessIsToldWhoHoldsIt(t *testing.T) {
	t.Parallel()
	dir := stateDir(t)
	j := open(t, dir)
	_, err := Open(dir, Options{})
	var held *HeldError
	if !errors.As(err, &held) {
		t.Fatalf("second Open: %v", err)
	}
	if want := fmt.Sprintf("pid %d ", os.Getpid()); !strings.Contains(err.Error(), want) {
		t.Errorf("%q does not contain %q", err, want)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if err := j.Put(t.Context(), sample("a")); !errors.Is(err, ErrClosed) {
		t.Errorf("Put after Close: %v", err)
	}
	if _, err := j.All(); !errors.Is(err, ErrClosed) {
		t.Errorf("All after Close: %v", err)
	}
	open(t, dir)
}

func TestFilesAreClosedToOthers(t *testing.T) {
	t.Parallel()
	dir := stateDir(t)
	open(t, dir)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", e.Name(), info.Mode())
		}
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("state directory: %v, %v", info.Mode(), err)
	}
}

func TestStateDir(t *testing.T) {
	t.Parallel()
	shared := filepath.Join(t.TempDir(), "shared")
	if err := os.Mkdir(shared, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(shared, 0o750); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		shared:                            "chmod 0700",
		file:                              "not a directory",
		filepath.Join(t.TempDir(), "a/b"): "",
	} {
		err := StateDir(path)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
}

func TestKeepAndExpire(t *testing.T) {
	t.Parallel()
	dir := stateDir(t)
	j := open(t, dir)
	now := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	for _, ref := range []string{"a", "b"} {
		if err := j.Put(t.Context(), sample(ref)); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Keep(t.Context(), "a", "GitLab dropped it", now.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := j.Keep(t.Context(), "b", "GitLab dropped it", now); err != nil {
		t.Fatal(err)
	}
	if err := j.Keep(t.Context(), "a", "again", now); err != nil {
		t.Errorf("second Keep: %v", err)
	}
	if err := j.Keep(t.Context(), "c", "never there", now); !errors.Is(err, ErrNotFound) {
		t.Errorf("Keep of a job that is not there: %v", err)
	}
	if all, err := j.All(); err != nil || len(all) != 0 {
		t.Errorf("%d records left, %v", len(all), err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, fileName)); err != nil || len(b) == 0 {
		t.Fatal(err)
	}
	j = open(t, dir)
	rec := stored(sample("a"))
	rec.Payload, rec.Runner, rec.Secrets, rec.Extra = nil, nil, nil, nil
	want := Kept{Record: rec, Why: "GitLab dropped it", Expires: now.Add(time.Hour)}
	gone, err := j.Expire(t.Context(), now)
	if err != nil || len(gone) != 1 || gone[0].Record.Ref != "b" {
		t.Errorf("expired %v, %v", gone, err)
	}
	if gone, err = j.Expire(t.Context(), now); err != nil || gone != nil {
		t.Errorf("expired again %v, %v", gone, err)
	}
	kept, err := j.AllKept()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Kept{want}, kept); diff != "" {
		t.Error(diff)
	}
}

func logTo(buf *bytes.Buffer) *slog.Logger { return slog.New(slog.NewTextHandler(buf, nil)) }
