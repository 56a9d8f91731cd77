package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"

	"gitlab.com/skerry/skerry/internal/job"
)

// State says how far a job is. A job that is forgotten has no record.
type State string

// The states, in the order in which a job goes through them; any of them may be skipped but Accepted.
const (
	Accepted State = "accepted" // the coordinator handed it out and the ref is chosen
	Prepared State = "prepared" // the executor has been called: something of the environment may exist
	Finished State = "finished" // Result holds; the coordinator has not accepted it yet
)

// maxRef is the longest ref in bytes; bbolt allows keys of 32 KiB.
const maxRef = 512

// Record is one job. The journal stores it and understands only Version, Ref and State.
type Record struct {
	Version int    `json:"version"` // set by the journal
	Ref     string `json:"ref"`     // the environment's ref; the key, 1 to 512 bytes
	State   State  `json:"state"`

	JobID     int64  `json:"job_id,omitempty"`     // the coordinator's
	RunnerKey string `json:"runner_key,omitempty"` // of the poller's runner that got the job
	// ConcurrentID and ProjectID are CI_CONCURRENT_ID and CI_CONCURRENT_PROJECT_ID, which an adopted job keeps;
	// ProjectKey is what ProjectID was allocated under.
	ConcurrentID int    `json:"concurrent_id"`
	ProjectID    int    `json:"concurrent_project_id"`
	ProjectKey   string `json:"project_key,omitempty"`

	Accepted time.Time `json:"accepted"`
	Deadline time.Time `json:"deadline,omitzero"` // zero: none
	Ended    time.Time `json:"ended,omitzero"`    // when the result was known

	Result *job.Result     `json:"result,omitempty"` // set from Finished on
	Trace  Trace           `json:"trace"`
	Extra  json.RawMessage `json:"extra,omitempty"` // the engine's own progress; valid JSON or empty

	// The following are stored apart and written only when they change, since they are large and
	// mostly the same for the life of a job.

	Payload []byte          `json:"-"` // as received from the coordinator; holds the job's token
	Runner  json.RawMessage `json:"-"` // the effective runner entry; valid JSON or empty; holds the runner's token
	Secrets json.RawMessage `json:"-"` // resolved secrets; valid JSON or empty
}

// Trace is what is known of the job's log file.
type Trace struct {
	Size     int64  `json:"size"`              // bytes in the file
	CRC32    uint32 `json:"crc32"`             // IEEE, of those bytes
	Sent     int64  `json:"sent"`              // bytes that the coordinator has acknowledged
	Complete bool   `json:"complete"`          // nothing will be added
	File     string `json:"file,omitempty"`    // name in the state directory
	Dropped  int64  `json:"dropped,omitempty"` // bytes that the limit cut out
}

// sealed is what is stored apart from the record as JSON.
type sealed struct {
	Runner  json.RawMessage `json:"runner,omitempty"`
	Secrets json.RawMessage `json:"secrets,omitempty"`
}

// encoded is a record ready to be stored.
type encoded struct {
	ref, core, sealed, payload []byte
}

func encode(rec Record) (encoded, error) {
	if err := checkRef(rec.Ref); err != nil {
		return encoded{}, err
	}
	if !rec.State.valid() {
		return encoded{}, fmt.Errorf("unknown state %q", rec.State)
	}
	rec.Version = Version
	core, err := json.Marshal(rec)
	if err != nil {
		return encoded{}, fmt.Errorf("encode: %w", err)
	}
	apart, err := json.Marshal(sealed{Runner: rec.Runner, Secrets: rec.Secrets})
	if err != nil {
		return encoded{}, fmt.Errorf("encode runner and secrets: %w", err)
	}
	return encoded{ref: []byte(rec.Ref), core: core, sealed: apart, payload: rec.Payload}, nil
}

// store writes e; it fails before the first change or not at all.
func (e encoded) store(tx *bolt.Tx) error {
	for _, part := range []struct {
		bucket string
		value  []byte
	}{
		{bucketPayload, e.payload}, {bucketSealed, e.sealed}, {bucketJobs, e.core},
	} {
		b := bucket(tx, part.bucket)
		if old := b.Get(e.ref); old != nil && bytes.Equal(old, part.value) {
			continue
		}
		if err := b.Put(e.ref, part.value); err != nil {
			return fmt.Errorf("store %s: %w", part.bucket, err)
		}
	}
	return nil
}

// load reads the record of ref; nothing in it points into the file.
func load(tx *bolt.Tx, ref string) (Record, error) {
	key := []byte(ref)
	core := bucket(tx, bucketJobs).Get(key)
	if core == nil {
		return Record{}, ErrNotFound
	}
	return decode(ref, core, bucket(tx, bucketSealed).Get(key), bucket(tx, bucketPayload).Get(key))
}

// decode makes a record of its stored parts. Apart may be nil; all of them may be any bytes.
func decode(ref string, core, apart, payload []byte) (Record, error) {
	var rec Record
	if err := json.Unmarshal(core, &rec); err != nil {
		return Record{}, fmt.Errorf("decode: %w", err)
	}
	if err := readable(rec.Version); err != nil {
		return Record{}, err
	}
	if rec.Ref != ref {
		return Record{}, fmt.Errorf("the record says that it is %q's", rec.Ref)
	}
	if !rec.State.valid() {
		return Record{}, fmt.Errorf("unknown state %q", rec.State)
	}
	if apart != nil {
		var s sealed
		if err := json.Unmarshal(apart, &s); err != nil {
			return Record{}, fmt.Errorf("decode runner and secrets: %w", err)
		}
		rec.Runner, rec.Secrets = s.Runner, s.Secrets
	}
	rec.Payload = bytes.Clone(payload)
	return rec, nil
}

func remove(tx *bolt.Tx, ref string) error {
	if ref == "" {
		return nil
	}
	for _, b := range []string{bucketJobs, bucketSealed, bucketPayload} {
		if err := bucket(tx, b).Delete([]byte(ref)); err != nil {
			return fmt.Errorf("delete from %s: %w", b, err)
		}
	}
	return nil
}

func (s State) valid() bool { return s == Accepted || s == Prepared || s == Finished }

func checkRef(ref string) error {
	if ref == "" || len(ref) > maxRef {
		return errors.New("a job's ref must have 1 to 512 bytes")
	}
	return nil
}

// readable says whether this program reads version v of the file or of a record.
func readable(v int) error {
	if v < oldest || v > Version {
		return &VersionError{Found: v}
	}
	return nil
}

// VersionError says that the journal was written by a program too new or too old for this one.
type VersionError struct {
	Found int // the version in the file
}

func (e *VersionError) Error() string {
	if e.Found > Version {
		return fmt.Sprintf("it was written by a newer version (journal version %d, this program knows %d): "+
			"start the newer version, or let it drain its jobs before going back", e.Found, Version)
	}
	return fmt.Sprintf("it was written by a version that is too old (journal version %d, this program reads %d to %d): "+
		"update in smaller steps, or let the old version drain its jobs first", e.Found, oldest, Version)
}
