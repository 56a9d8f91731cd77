package agent

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"gitlab.com/skerry/skerry/internal/agent/proc"
	"gitlab.com/skerry/skerry/internal/stage"
)

// store is the agent's directory. Nothing is fsynced: it has to survive the agent, not the machine,
// for no process of the job survives that either.
type store struct {
	dir  string
	lock *os.File
}

// jobState is job.json.
type jobState struct {
	Mark     string        `json:"mark"` // random, begins the marks of the agent's processes
	Job      string        `json:"job,omitempty"`
	Epoch    int64         `json:"epoch"`
	Boot     string        `json:"boot,omitempty"`     // of Deadline
	Deadline time.Duration `json:"deadline,omitempty"` // boottime; 0 none
	Lease    time.Duration `json:"lease,omitempty"`
	Handed   bool          `json:"handed,omitempty"` // a handover has set Lease
}

// startState is start.json: all that a successor needs. The spec is not kept, it holds secrets.
type startState struct {
	At    int64  `json:"at"`
	Boot  string `json:"boot"`
	Leave bool   `json:"leave,omitempty"`
}

// ErrRunning says that another agent has the directory.
var ErrRunning = errors.New("another agent is running in this directory")

// takeover is how long an agent waits for the directory: one that is ending, or that a runner which died
// has started and not recorded, is still in it then. The runner ends whichever it does not need.
const takeover = 10 * time.Second

// openStore takes the directory, for which it waits until ctx ends and no longer than within.
func openStore(ctx context.Context, dir string, within time.Duration) (*store, error) {
	deadline := time.Now().Add(within)
	for {
		st, err := takeStore(dir)
		if !errors.Is(err, ErrRunning) || time.Now().After(deadline) {
			return st, err
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return nil, errors.Join(err, context.Cause(ctx))
		}
	}
}

func takeStore(dir string) (*store, error) {
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the agent's state: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = lock.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%s: %w", dir, ErrRunning)
		}
		return nil, fmt.Errorf("lock the agent's state: %w", err)
	}
	return &store{dir: dir, lock: lock}, nil
}

func (s *store) close() { _ = s.lock.Close() }

func (s *store) openArchives() (*os.Root, error) {
	dir := filepath.Join(s.dir, "archives")
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("make the directory for archives: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open the directory for archives: %w", err)
	}
	return root, nil
}

// job reads job.json; a new agent gets a mark.
func (s *store) job() (j jobState, err error) {
	err = readJSON(filepath.Join(s.dir, "job.json"), &j)
	if errors.Is(err, fs.ErrNotExist) {
		b := make([]byte, 8)
		_, _ = rand.Read(b) // never fails, crypto/rand
		j.Mark = hex.EncodeToString(b)
		return j, s.setJob(j)
	}
	return j, err
}

func (s *store) setJob(j jobState) error {
	return writeJSON(filepath.Join(s.dir, "job.json"), j, 0o600)
}

func (s *store) stage(id string) string { return filepath.Join(s.dir, "stages", id) }

// stages lists the stages that have been started.
func (s *store) stages() ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, "stages"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list the stages: %w", err)
	}
	var ids []string
	for _, e := range entries {
		if _, err := os.Lstat(filepath.Join(s.stage(e.Name()), "start.json")); err == nil {
			ids = append(ids, e.Name())
		}
	}
	return ids, nil
}

func (s *store) begin(id string, st startState) error {
	return writeJSON(filepath.Join(s.stage(id), "start.json"), st, 0o600)
}

func (s *store) started(id string) (st startState, err error) {
	return st, readJSON(filepath.Join(s.stage(id), "start.json"), &st)
}

func (s *store) setResult(id string, r stage.Result) error {
	return writeJSON(filepath.Join(s.stage(id), "result.json"), r, 0o600)
}

// result returns nil while there is none.
func (s *store) result(id string) (*stage.Result, error) {
	r := new(stage.Result)
	err := readJSON(filepath.Join(s.stage(id), "result.json"), r)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // documented
	}
	return r, err
}

// addProcess records a process of a stage for a successor.
func (s *store) addProcess(id string, p proc.Record) error {
	f, err := os.OpenFile(filepath.Join(s.stage(id), "processes"), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("record a process: %w", err)
	}
	defer f.Close()
	if err := json.NewEncoder(f).Encode(p); err != nil {
		return fmt.Errorf("record a process: %w", err)
	}
	return nil
}

func (s *store) processes(id string) (list []proc.Record) {
	f, err := os.Open(filepath.Join(s.stage(id), "processes"))
	if err != nil {
		return nil
	}
	defer f.Close()
	for d := json.NewDecoder(f); ; {
		var p proc.Record
		if d.Decode(&p) != nil {
			return list // the end, or a line that was not finished
		}
		list = append(list, p)
	}
}

func writeJSON(path string, v any, mode fs.FileMode) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode %s: %w", filepath.Base(path), err)
	}
	if err := writeNew(path+".new", b, mode); err != nil {
		return fmt.Errorf("write the agent's state: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("write the agent's state: %w", err)
	}
	return nil
}

// writeNew writes a file in the place of whatever is at path: a link, which a job may have put there, is not followed.
func writeNew(path string, b []byte, mode fs.FileMode) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Close())
}

func readJSON(path string, v any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read the agent's state: %w", err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("read the agent's state %s: %w", path, err)
	}
	return nil
}
