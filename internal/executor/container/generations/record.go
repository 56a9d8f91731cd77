package generations

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"gitlab.com/skerry/skerry/internal/boottime"
)

// Records are the records of all domains, as files of a directory that may be missing. Two calls at once are the caller's to keep apart where one
// of them writes.
type Records struct {
	Dir string
	// Engine begins the names of records: it tells engines apart by what they are addressed by.
	Engine string
}

// Record is which generation the next job of a domain is offered. The zero value is that of a domain that has none.
type Record struct {
	Volume string    `json:"volume"`
	Made   time.Time `json:"made"` // when it was whole
	// Boot is since which start of the machine it is there, until its disk has all of it; empty: it has.
	Boot string `json:"boot,omitempty"`
}

// settles is how long the kernel may take to write to the disk what engines have written to files.
const settles = 2 * time.Minute

// path is the file of a domain's record.
func (r Records) path(domain string) string {
	return filepath.Join(r.Dir, r.Engine+"-"+domain+".json")
}

// Read is the record of a domain; one that is not there, or damaged, names none, nor does one of just before the machine's last start:
// if it lost power, half of the images may be missing.
func (r Records) Read(domain string) (Record, error) {
	return read(r.path(domain), domain)
}

// Pick is Read for a job that is about to have the generation: that the disk has all of one is recorded when the time for it is over.
func (r Records) Pick(domain string) (Record, error) {
	g, err := r.Read(domain)
	if err == nil && g.Boot != "" && time.Since(g.Made) >= settles {
		g.Boot = ""
		err = r.Write(domain, g)
	}
	return g, err
}

func read(path, domain string) (g Record, err error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Record{}, nil
	}
	if err != nil {
		return Record{}, fmt.Errorf("read which images are offered to jobs: %w", err)
	}
	if json.Unmarshal(raw, &g) != nil || !strings.HasPrefix(g.Volume, domain+"-") {
		return Record{}, nil //nolint:nilerr // the next one takes its place
	}
	if g.Boot != "" && g.Boot != boottime.ID() {
		return Record{}, nil
	}
	return g, nil
}

// Write offers a generation to the next job of a domain, in place of the last one. It makes the directory, and the file is never half of one.
func (r Records) Write(domain string, g Record) error {
	path := r.path(domain)
	raw, err := json.Marshal(g)
	if err == nil {
		err = os.MkdirAll(r.Dir, 0o700)
	}
	if err == nil {
		err = os.WriteFile(path+".new", raw, 0o600)
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return fmt.Errorf("record which images are offered to jobs: %w", err)
	}
	return nil
}

// offeredBy are the records that offer a generation to the next job: one, or two where an engine was addressed in two ways.
func (r Records) offeredBy(volume string) (paths []string, err error) {
	entries, err := os.ReadDir(r.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list which images are offered to jobs: %w", err)
	}
	domain, _ := Split(volume)
	for _, entry := range entries {
		path := filepath.Join(r.Dir, entry.Name())
		if !strings.HasSuffix(path, "-"+domain+".json") {
			continue
		}
		g, err := read(path, domain)
		if err != nil {
			return nil, err
		}
		if g.Volume == volume {
			paths = append(paths, path)
		}
	}
	return paths, nil
}

// Offered reports whether the next job of some domain is offered a generation.
func (r Records) Offered(volume string) (bool, error) {
	paths, err := r.offeredBy(volume)
	return len(paths) > 0, err
}

// Forget offers a generation to nobody any more, by whatever name of the engine it is offered. One that is not offered is no error.
func (r Records) Forget(volume string) error {
	paths, err := r.offeredBy(volume)
	for _, path := range paths {
		if gone := os.Remove(path); gone != nil && !errors.Is(gone, fs.ErrNotExist) {
			err = errors.Join(err, fmt.Errorf("forget which images are offered to jobs: %w", gone))
		}
	}
	return err
}

// Split takes the name of a generation apart: its domain, and the environment whose job it is of.
func Split(volume string) (domain, id string) {
	i := max(strings.LastIndexByte(volume, '-'), 0)
	return volume[:i], strings.TrimPrefix(volume[i:], "-")
}
