package journal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Kept is a job that is over although the coordinator never accepted its result: GitLab's own
// clocks had dropped it. Its result and the name of its trace are kept for the operator.
type Kept struct {
	Record  Record    `json:"record"` // without Payload, Runner, Secrets and Extra
	Why     string    `json:"why"`    // what became of the job, for people
	Expires time.Time `json:"expires"`
}

// Keep moves the job ref from the records to the kept ones, until expires; its payload, runner
// entry, secrets and progress are removed. A job that is already kept is no error, one that is
// neither recorded nor kept is ErrNotFound.
func (j *Journal) Keep(ctx context.Context, ref, why string, expires time.Time) error {
	err := j.do(ctx, func(tx *bolt.Tx) error {
		kept := bucket(tx, bucketKept)
		rec, err := load(tx, ref)
		if err != nil {
			if kept.Get([]byte(ref)) != nil {
				return nil
			}
			return err
		}
		rec.Payload, rec.Runner, rec.Secrets, rec.Extra = nil, nil, nil, nil
		rec.Version = Version
		b, err := json.Marshal(Kept{Record: rec, Why: why, Expires: expires})
		if err != nil {
			return fmt.Errorf("encode: %w", err)
		}
		if err := kept.Put([]byte(ref), b); err != nil {
			return fmt.Errorf("store: %w", err)
		}
		return remove(tx, ref)
	})
	if err != nil {
		return fmt.Errorf("keep job %s: %w", ref, err)
	}
	return nil
}

// AllKept returns the kept jobs in the order of their refs. Entries that cannot be read are left out.
func (j *Journal) AllKept() ([]Kept, error) {
	var all []Kept
	err := j.view(func(tx *bolt.Tx) error {
		return bucket(tx, bucketKept).ForEach(func(k, v []byte) error {
			if kept, err := decodeKept(k, v); err == nil {
				all = append(all, kept)
			}
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read kept jobs: %w", err)
	}
	return all, nil
}

// Expire removes the kept jobs that expire at or before now, and those that cannot be read, and
// returns those it could read: their trace files are the caller's to delete.
func (j *Journal) Expire(ctx context.Context, now time.Time) ([]Kept, error) {
	var gone []Kept
	err := j.do(ctx, func(tx *bolt.Tx) error {
		gone = nil
		all := bucket(tx, bucketKept)
		var keys [][]byte
		err := all.ForEach(func(k, v []byte) error {
			kept, err := decodeKept(k, v)
			if err == nil && kept.Expires.After(now) {
				return nil
			}
			keys = append(keys, append([]byte(nil), k...))
			if err == nil {
				gone = append(gone, kept)
			}
			return nil
		})
		if err != nil {
			return err
		}
		if len(keys) == 0 {
			return errNothing
		}
		for _, k := range keys {
			if err := all.Delete(k); err != nil {
				return fmt.Errorf("delete %s: %w", k, err)
			}
		}
		return nil
	})
	if errors.Is(err, errNothing) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("remove expired jobs: %w", err)
	}
	return gone, nil
}

func decodeKept(key, value []byte) (Kept, error) {
	var kept Kept
	if err := json.Unmarshal(value, &kept); err != nil {
		return Kept{}, fmt.Errorf("decode kept job: %w", err)
	}
	if err := readable(kept.Record.Version); err != nil {
		return Kept{}, err
	}
	if kept.Record.Ref != string(key) || !kept.Record.State.valid() {
		return Kept{}, fmt.Errorf("kept job %q makes no sense", key)
	}
	return kept, nil
}
