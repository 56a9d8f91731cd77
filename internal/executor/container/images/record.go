package images

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Record remembers who has been proven to have access to which images. It is keyed by the IDs of images,
// which are digests of their content: it holds for every tag and survives the engine. Whoever had access
// without any login stands for everybody, for good; what a login has opened is asked for again after
// freshFor, and believed for staleFor while the registry does not answer.
//
// Of logins only a keyed hash is kept. It is safe for concurrent use, by one process.
type Record struct {
	path string
	now  func() time.Time

	mu   sync.Mutex
	data recordData
}

type recordData struct {
	Key    []byte                 `json:"key"`
	Images map[string]*imageProof `json:"images"` // by ID
	// Silent says when the registry of an image of unknown origin did not answer.
	Silent map[string]time.Time `json:"silent,omitempty"`
}

// imageProof has times of proofs by keyed hashes: of engines that need no login, and of holders.
type imageProof struct {
	Used    time.Time            `json:"used"`
	Anyone  map[string]time.Time `json:"anyone,omitempty"`
	Holders map[string]time.Time `json:"holders,omitempty"`
}

// holder is for whom access is proven: whoever has a login, or anybody at all on one engine (which may
// have a login of its own).
type holder struct {
	anyone bool
	name   string
}

func (i *imageProof) of(h holder) map[string]time.Time {
	if h.anyone {
		return i.Anyone
	}
	return i.Holders
}

const (
	freshFor = 5 * time.Minute
	staleFor = 7 * 24 * time.Hour
	askAfter = 10 * time.Minute    // a registry that did not answer
	keepFor  = 90 * 24 * time.Hour // an image's entry that nobody asks for
)

// OpenRecord reads the record at path, or begins it. One that cannot be read is begun anew: proofs are
// made again.
func OpenRecord(path string, now func() time.Time) (*Record, error) {
	r := &Record{path: path, now: now}
	raw, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the record of images: %w", err)
	}
	if err != nil || json.Unmarshal(raw, &r.data) != nil || len(r.data.Key) == 0 {
		r.data = recordData{Key: make([]byte, 32)}
		_, _ = rand.Read(r.data.Key) // never fails, crypto/rand
	}
	if r.data.Images == nil {
		r.data.Images = map[string]*imageProof{}
	}
	for id, i := range r.data.Images {
		if i == nil {
			delete(r.data.Images, id)
			continue
		}
		if i.Anyone == nil {
			i.Anyone = map[string]time.Time{}
		}
		if i.Holders == nil {
			i.Holders = map[string]time.Time{}
		}
	}
	return r, nil
}

func (r *Record) hash(name string) string {
	m := hmac.New(sha256.New, r.data.Key)
	m.Write([]byte(name))
	return hex.EncodeToString(m.Sum(nil)[:16])
}

// known reports whether the runner has brought or proven the image itself.
func (r *Record) known(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.data.Images[id] != nil
}

// age is how long ago the holder's access was proven; false when it never was.
func (r *Record) age(id string, h holder) (time.Duration, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := r.data.Images[id]
	if i == nil {
		return 0, false
	}
	at, ok := i.of(h)[r.hash(h.name)]
	return r.now().Sub(at), ok
}

// add writes down that the holder has access.
func (r *Record) add(id string, h holder) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	i := r.data.Images[id]
	if i == nil {
		i = &imageProof{Anyone: map[string]time.Time{}, Holders: map[string]time.Time{}}
		r.data.Images[id] = i
	}
	key := r.hash(h.name)
	if now.Sub(i.of(h)[key]) < freshFor/5 {
		return nil
	}
	i.Used, i.of(h)[key] = now, now
	older := func(limit time.Duration) func(string, time.Time) bool {
		return func(_ string, at time.Time) bool { return now.Sub(at) > limit }
	}
	for id, i := range r.data.Images {
		// An entry without holders still says that the image is not the operator's own.
		maps.DeleteFunc(i.Holders, older(staleFor))
		maps.DeleteFunc(i.Anyone, older(keepFor))
		if now.Sub(i.Used) > keepFor {
			delete(r.data.Images, id)
		}
	}
	return r.write()
}

// silent reports whether the registry of an image of unknown origin has not answered a short time ago.
func (r *Record) silent(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.now().Sub(r.data.Silent[id]) < askAfter
}

// addSilent writes down that it does not answer now.
func (r *Record) addSilent(id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	maps.DeleteFunc(r.data.Silent, func(_ string, at time.Time) bool { return now.Sub(at) > askAfter })
	if r.data.Silent == nil {
		r.data.Silent = map[string]time.Time{}
	}
	r.data.Silent[id] = now
	return r.write()
}

func (r *Record) write() error {
	raw, err := json.Marshal(r.data)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(r.path), 0o700)
	}
	if err == nil {
		err = os.WriteFile(r.path+".new", raw, 0o600)
	}
	if err == nil {
		err = os.Rename(r.path+".new", r.path)
	}
	if err != nil {
		return fmt.Errorf("write the record of images: %w", err)
	}
	return nil
}
