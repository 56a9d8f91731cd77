// Package journal is the runner's durable memory of its jobs: one bbolt file in the state
// directory, locked by the one process that uses it.
//
// # What is durable when
//
// Every change is on disk, power loss included, when the call that makes it returns nil. Changes
// that wait at the same time share one commit and its fsync, so eight jobs cost little more than
// one. A call that returns an error has changed nothing, with one exception that no program can
// rule out: a disk that fails while the commit's last page is written. Every change is safe to
// repeat for that reason.
//
// # Versions
//
// The file and each record carry Version. A process reads files and records of its own version
// and of the two before it, and refuses newer ones without touching them.
//
// # Damage
//
// A file that is not a whole bbolt file is moved aside, reported through the logger and by
// Damaged, and a new one is begun; the owner id and the epoch survive that in the file "identity".
// A single record that cannot be read is set aside in the file, and the others are used.
package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Version is the version of the file and of the records that this program writes.
const Version = 1

// oldest is the oldest version that this program reads: two before its own.
const oldest = max(1, Version-2)

// fileName is the journal's name in the state directory.
const fileName = "journal.db"

// ErrNotFound says that the journal holds no record of that ref.
var ErrNotFound = errors.New("the journal holds no such job")

// ErrClosed says that the journal has been closed.
var ErrClosed = errors.New("the journal is closed")

// Options are what Open needs besides the directory.
type Options struct {
	Logger *slog.Logger     // operator's log; nil discards
	Clock  func() time.Time // nil means time.Now; names files that are moved aside
}

// Journal is an open journal. All methods may be called concurrently.
type Journal struct {
	db      *bolt.DB
	lock    *os.File
	log     *slog.Logger
	owner   string
	epoch   int64
	damaged string

	mu      sync.RWMutex // held for reading while an operation is handed over, for writing by Close
	closed  bool
	ops     chan *operation
	stopped chan struct{}
}

// Open opens the journal in dir, a directory as StateDir accepts it (made when missing), and takes
// its lock: while one process has it open, another gets a *HeldError that names the first. The
// epoch is one higher than at the last Open, and that is on disk when Open returns. The caller
// must Close the journal.
func Open(dir string, opts Options) (*Journal, error) {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Clock == nil {
		opts.Clock = time.Now
	}
	if err := StateDir(dir); err != nil {
		return nil, err
	}
	lock, err := takeLock(filepath.Join(dir, lockName))
	if err != nil {
		return nil, err
	}
	j := &Journal{lock: lock, log: opts.Logger, ops: make(chan *operation, maxBatch), stopped: make(chan struct{})}
	if err := j.open(dir, opts.Clock); err != nil {
		return nil, errors.Join(err, j.abandon())
	}
	go j.commitLoop()
	return j, nil
}

// open opens the file, moving a damaged one aside, and begins a new epoch.
func (j *Journal) open(dir string, clock func() time.Time) error {
	path := filepath.Join(dir, fileName)
	db, err := openFile(path)
	var damage *damageError
	if errors.As(err, &damage) {
		j.damaged = fmt.Sprintf("%s.damaged-%s", path, clock().UTC().Format("20060102T150405.000000000"))
		if err := os.Rename(path, j.damaged); err != nil {
			return fmt.Errorf("move damaged journal aside: %w", err)
		}
		j.log.Error("the journal is damaged and was moved aside: jobs that were running are not taken up again "+
			"and GitLab will drop them as stuck; check the disk, keep the file for a bug report or delete it",
			"file", j.damaged, "error", damage.err)
		db, err = openFile(path)
	}
	if err != nil {
		return fmt.Errorf("open journal %s: %w", path, err)
	}
	j.db = db
	if err := checkVersion(db); err != nil {
		return fmt.Errorf("open journal %s: %w", path, err)
	}
	if err := j.begin(dir); err != nil {
		return fmt.Errorf("begin a new epoch in journal %s: %w", path, err)
	}
	return nil
}

// abandon closes what a failed Open had opened.
func (j *Journal) abandon() error {
	var err error
	if j.db != nil {
		err = j.db.Close()
	}
	return errors.Join(err, j.lock.Close())
}

// Owner returns the id of this installation: 16 hex digits, random, the same for the life of the state directory.
func (j *Journal) Owner() string { return j.owner }

// Epoch returns the number of this Open: higher than that of every Open before it.
func (j *Journal) Epoch() int64 { return j.epoch }

// Damaged returns where Open moved a damaged journal to, or "" when it found none.
func (j *Journal) Damaged() string { return j.damaged }

// Lost says why what the journal records will not be found again: somebody has removed or replaced the state
// directory. nil while it is there.
func (j *Journal) Lost() error {
	held, err := j.lock.Stat()
	if err != nil {
		return fmt.Errorf("look at the state directory: %w", err)
	}
	there, err := os.Stat(j.lock.Name())
	if err != nil {
		return fmt.Errorf("the state directory is gone: %w", err)
	}
	if !os.SameFile(held, there) {
		return fmt.Errorf("the state directory %s has been replaced by another", filepath.Dir(j.lock.Name()))
	}
	return nil
}

// Close waits until every change that was begun is committed, closes the file and releases the
// lock. It may be called again.
func (j *Journal) Close() error {
	j.mu.Lock()
	if j.closed {
		j.mu.Unlock()
		return nil
	}
	j.closed = true
	close(j.ops)
	j.mu.Unlock()
	<-j.stopped
	if err := errors.Join(j.db.Close(), j.lock.Close()); err != nil {
		return fmt.Errorf("close journal: %w", err)
	}
	return nil
}

// Put records rec under rec.Ref, replacing what was there, and sets its Version. The bytes that rec
// points to must not change until Put returns. When ctx ends first, the change may still be made.
func (j *Journal) Put(ctx context.Context, rec Record) error {
	enc, err := encode(rec)
	if err != nil {
		return fmt.Errorf("record job %s: %w", rec.Ref, err)
	}
	if err := j.do(ctx, enc.store); err != nil {
		return fmt.Errorf("record job %s: %w", rec.Ref, err)
	}
	return nil
}

// Update changes the record of ref with fn and records it. fn gets a copy that it may change in
// every way except Ref; when it returns an error, that error is returned and nothing changes. fn
// runs alone, must not call the journal, and may be called more than once for one Update. Without
// a record the error is ErrNotFound. When ctx ends first, the change may still be made.
func (j *Journal) Update(ctx context.Context, ref string, fn func(*Record) error) error {
	err := j.do(ctx, func(tx *bolt.Tx) error {
		rec, err := load(tx, ref)
		if err != nil {
			return err
		}
		if err := fn(&rec); err != nil {
			return err
		}
		rec.Ref = ref
		enc, err := encode(rec)
		if err != nil {
			return err
		}
		return enc.store(tx)
	})
	if err != nil {
		return fmt.Errorf("update the record of job %s: %w", ref, err)
	}
	return nil
}

// Delete forgets the job ref. A job that is not there is no error.
func (j *Journal) Delete(ctx context.Context, ref string) error {
	if err := j.do(ctx, func(tx *bolt.Tx) error { return remove(tx, ref) }); err != nil {
		return fmt.Errorf("forget job %s: %w", ref, err)
	}
	return nil
}

// Get returns the record of ref, or ErrNotFound. The record is the caller's own.
func (j *Journal) Get(ref string) (Record, error) {
	var rec Record
	err := j.view(func(tx *bolt.Tx) error {
		var err error
		rec, err = load(tx, ref)
		return err
	})
	if err != nil {
		return Record{}, fmt.Errorf("read the record of job %s: %w", ref, err)
	}
	return rec, nil
}

// All returns the records of all jobs that have not been forgotten or kept, in the order of their refs.
func (j *Journal) All() ([]Record, error) {
	var recs []Record
	err := j.view(func(tx *bolt.Tx) error {
		return bucket(tx, bucketJobs).ForEach(func(k, _ []byte) error {
			rec, err := load(tx, string(k))
			if err != nil {
				return fmt.Errorf("job %s: %w", k, err)
			}
			recs = append(recs, rec)
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read the journal: %w", err)
	}
	return recs, nil
}

func (j *Journal) view(fn func(*bolt.Tx) error) error {
	j.mu.RLock()
	defer j.mu.RUnlock()
	if j.closed {
		return ErrClosed
	}
	return j.db.View(fn)
}
