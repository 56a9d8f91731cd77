package journal

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
	"golang.org/x/sys/unix"
)

// reserve is how much disk space the journal takes from the start, where the file system can: so
// much can still be recorded when the disk is full.
const reserve = 4 << 20

// The buckets. Meta holds version, owner and epoch; jobs, sealed and payload hold the parts of a
// record by ref; kept holds jobs that are over, by ref; unreadable holds what Open could not read.
const (
	bucketMeta       = "meta"
	bucketJobs       = "jobs"
	bucketSealed     = "sealed"
	bucketPayload    = "payload"
	bucketKept       = "kept"
	bucketUnreadable = "unreadable"

	keyVersion = "version"
	keyOwner   = "owner"
	keyEpoch   = "epoch"
)

func bucket(tx *bolt.Tx, name string) *bolt.Bucket { return tx.Bucket([]byte(name)) }

// damageError says that the file is there and can be read, but is not a whole bbolt file.
type damageError struct{ err error }

func (e *damageError) Error() string { return e.err.Error() }
func (e *damageError) Unwrap() error { return e.err }

// openFile opens and checks the bbolt file at path. It changes nothing in a file that exists.
func openFile(path string) (db *bolt.DB, err error) {
	var file *os.File
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		// bbolt panics, or reads outside its mapping, where a page is not what it should be.
		if r := recover(); r != nil {
			db, err = nil, &damageError{fmt.Errorf("read pages: %v", r)}
			if file != nil {
				_ = file.Close()
			}
		}
	}()
	db, err = bolt.Open(path, 0o600, &bolt.Options{
		Timeout:         time.Second,
		InitialMmapSize: 1 << 20,
		NoStatistics:    true,
		OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
			f, err := os.OpenFile(name, flag, mode)
			if err == nil {
				file = f
				// Best effort: file systems without preallocation go without the reserve.
				_ = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, reserve)
			}
			return f, err
		},
	})
	if err != nil {
		return nil, classify(err)
	}
	db.AllocSize = 1 << 20 // bbolt's own 16 MiB is more than most journals ever need
	if err := check(db); err != nil {
		return nil, errors.Join(&damageError{err}, db.Close())
	}
	return db, nil
}

// classify tells damage from what the system refused.
func classify(err error) error {
	var path *fs.PathError
	var errno syscall.Errno
	if errors.As(err, &path) || errors.As(err, &errno) || errors.Is(err, bolterrors.ErrTimeout) {
		return err
	}
	return &damageError{err}
}

// check reads every page of the file. It visits the tree itself before it asks bbolt's own check,
// because that one runs in a goroutine where a fault cannot be caught.
func check(db *bolt.DB) error {
	return db.View(func(tx *bolt.Tx) error {
		info, err := os.Stat(db.Path())
		if err != nil {
			return err
		}
		if tx.Size() > info.Size() {
			return fmt.Errorf("the file has %d bytes instead of %d", info.Size(), tx.Size())
		}
		if err := tx.ForEach(func(_ []byte, b *bolt.Bucket) error { return visit(b) }); err != nil {
			return err
		}
		var found []error
		for err := range tx.Check() {
			found = append(found, err)
		}
		return errors.Join(found...)
	})
}

func visit(b *bolt.Bucket) error {
	var sum byte
	return b.ForEach(func(k, v []byte) error {
		for _, c := range k {
			sum ^= c
		}
		for _, c := range v {
			sum ^= c
		}
		if nested := b.Bucket(k); v == nil && nested != nil {
			return visit(nested)
		}
		return nil
	})
}

// checkVersion refuses a file that this program does not read, before anything is written to it.
func checkVersion(db *bolt.DB) error {
	return db.View(func(tx *bolt.Tx) error {
		meta := bucket(tx, bucketMeta)
		if meta == nil {
			return nil // new
		}
		v := meta.Get([]byte(keyVersion))
		if len(v) != 8 {
			return errors.New("it says no version: it was not written by this program; move it away")
		}
		return readable(int(binary.BigEndian.Uint64(v)))
	})
}

// begin makes the buckets, sets unreadable records aside and starts a new epoch, in one commit.
func (j *Journal) begin(dir string) error {
	path := filepath.Join(dir, identityName)
	known, err := readIdentity(path)
	if err != nil {
		return err
	}
	err = j.db.Update(func(tx *bolt.Tx) error {
		for _, name := range []string{bucketMeta, bucketJobs, bucketSealed, bucketPayload, bucketKept, bucketUnreadable} {
			if _, err := tx.CreateBucketIfNotExists([]byte(name)); err != nil {
				return fmt.Errorf("create bucket %s: %w", name, err)
			}
		}
		if err := j.setAside(tx); err != nil {
			return err
		}
		return j.identify(tx, known)
	})
	if err != nil {
		return err
	}
	// It is a second copy for the day when the journal is damaged: a full disk must not keep the runner from its jobs.
	if err := writeIdentity(path, identity{Owner: j.owner, Epoch: j.epoch}); err != nil {
		j.log.Warn("the runner's identity is in the journal only; free some space in the state directory", "error", err)
	}
	return nil
}

// identify reads owner and epoch, or takes over what is known from the identity file, and counts the epoch up.
func (j *Journal) identify(tx *bolt.Tx, known identity) error {
	meta := bucket(tx, bucketMeta)
	j.owner, j.epoch = known.Owner, known.Epoch
	if owner := meta.Get([]byte(keyOwner)); validOwner(string(owner)) {
		j.owner = string(owner)
	}
	if epoch := meta.Get([]byte(keyEpoch)); len(epoch) == 8 {
		j.epoch = max(j.epoch, int64(binary.BigEndian.Uint64(epoch)))
	}
	if j.owner == "" {
		b := make([]byte, 8)
		_, _ = rand.Read(b) // never fails, crypto/rand
		j.owner = hex.EncodeToString(b)
	}
	j.epoch++
	return errors.Join(
		meta.Put([]byte(keyVersion), binary.BigEndian.AppendUint64(nil, Version)),
		meta.Put([]byte(keyOwner), []byte(j.owner)),
		meta.Put([]byte(keyEpoch), binary.BigEndian.AppendUint64(nil, uint64(j.epoch))))
}

// setAside moves records that cannot be read to their own bucket, so that the others can be used.
func (j *Journal) setAside(tx *bolt.Tx) error {
	jobs := bucket(tx, bucketJobs)
	bad := map[string]error{}
	err := jobs.ForEach(func(k, _ []byte) error {
		if _, err := load(tx, string(k)); err != nil {
			bad[string(k)] = err
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read records: %w", err)
	}
	for ref, cause := range bad {
		var version *VersionError
		if errors.As(cause, &version) {
			return fmt.Errorf("job %s: %w", ref, cause)
		}
		j.log.Error("the record of a job cannot be read and was set aside: the job is not taken up again and GitLab will drop it as stuck",
			"ref", ref, "error", cause)
		if err := bucket(tx, bucketUnreadable).Put([]byte(ref), jobs.Get([]byte(ref))); err != nil {
			return fmt.Errorf("set record %s aside: %w", ref, err)
		}
		if err := remove(tx, ref); err != nil {
			return err
		}
	}
	return nil
}
