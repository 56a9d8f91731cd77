package container

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
	"gitlab.com/skerry/skerry/internal/executor/container/slot"
)

// errDamaged is a record that is not what was written: the machine lost power, or somebody changed it.
var errDamaged = errors.New("it is damaged: the machine may have lost power")

// sumKey begins a record that says what its checksum is; records of earlier versions do not.
const sumKey = `{"sum":"`

// encode is the record with its checksum as its first key.
func (b *blueprint) encode() ([]byte, error) {
	raw, err := json.Marshal(b)
	if err != nil {
		return nil, err
	}
	rest := raw[1:]
	return append(fmt.Appendf(nil, "%s%08x\",", sumKey, crc32.ChecksumIEEE(rest)), rest...), nil
}

func decodeBlueprint(raw []byte) (*blueprint, error) {
	if rest, ok := bytes.CutPrefix(raw, []byte(sumKey)); ok {
		sum, rest, ok := bytes.Cut(rest, []byte(`",`))
		if !ok || string(sum) != fmt.Sprintf("%08x", crc32.ChecksumIEEE(rest)) {
			return nil, errDamaged
		}
	}
	b := &blueprint{}
	if err := json.Unmarshal(raw, b); err != nil {
		return nil, fmt.Errorf("%w: %w", errDamaged, err)
	}
	return b, nil
}

// readBlueprint reads the record of an environment. Its errors wrap fs.ErrNotExist or errDamaged, or are the disk's.
func readBlueprint(dir string) (*blueprint, error) {
	path := filepath.Join(dir, fileBlueprint)
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the record of a job's environment: %w", err)
	}
	b, err := decodeBlueprint(raw)
	if err == nil && b.Ref.ID != filepath.Base(dir) {
		err = fmt.Errorf("%w: it is that of %s", errDamaged, b.Ref)
	}
	if err != nil {
		return nil, fmt.Errorf("read the record of a job's environment %s: %w", path, err)
	}
	return b, nil
}

// isLost reports whether err is that of a record which is not there or cannot be used.
func isLost(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, errDamaged) }

// adoptable reads the record of an environment. Where it is lost, what is left of the environment is removed: nobody
// could go on with it or, later, tell what belongs to it.
func (e *Executor) adoptable(ctx context.Context, ref executor.Ref) (*blueprint, error) {
	dir := e.dir(ref)
	b, err := readBlueprint(dir)
	if !isLost(err) {
		return b, err
	}
	if _, dirErr := os.Lstat(dir); errors.Is(dirErr, fs.ErrNotExist) {
		return nil, err // the directory goes last: there is nothing else
	}
	if err := e.scrap(ctx, ref); err != nil {
		e.log.Warn("What is left of an environment whose record is lost could not be removed; it is tried again when the runner starts", "ref", ref.String(), "error", err)
	}
	return nil, err
}

// scrapTime bounds the removal of an environment without a record.
const scrapTime = time.Minute

// scrap removes an environment that has no record, by what its parts are labelled with. Which network it had nobody
// knows; it is among those that no job has.
func (e *Executor) scrap(ctx context.Context, ref executor.Ref) error {
	ctx, cancel := context.WithTimeout(ctx, scrapTime)
	defer cancel()
	engine, err := e.host.engine(ctx, e.o.Engine)
	if err != nil {
		return err
	}
	e.host.vacating(ref)
	defer e.host.vacated(ref)
	containers, networks, err := engine.Owned(ctx, labelOwner, string(ref.Owner))
	if err != nil {
		return err
	}
	if err := e.removeLeft(ctx, engine, ref.Owner, containers, networks, func(t engineapi.Thing) bool {
		r, err := executor.ParseRef(t.Labels[labelRef])
		return err == nil && r == ref
	}); err != nil {
		return err
	}
	if err := e.unrecorded(ref).removeDir(ctx); err != nil {
		return err
	}
	errs := []error{e.reconcileImages(ctx, engine, ref.Owner)} // it may have had some, or made some
	used := e.slotsOnRecord()
	for _, t := range slices.Concat(containers, networks) {
		if name := t.Labels[slot.LabelSlot]; name != "" && !used[name] && !e.host.knows(name) {
			errs = append(errs, slot.Remove(ctx, engine, name), slot.RemoveDoor(e.o.doors(), name))
		}
	}
	return errors.Join(errs...)
}

// slotsOnRecord are the networks that environments have by their records, also those that nobody has adopted yet.
func (e *Executor) slotsOnRecord() map[string]bool {
	used := map[string]bool{}
	entries, _ := os.ReadDir(e.o.Dir) // it cannot be read: no environment can be
	for _, entry := range entries {
		if b, err := readBlueprint(filepath.Join(e.o.Dir, entry.Name())); err == nil && b.Slot != "" {
			used[b.Slot] = true
		}
	}
	return used
}

// unrecorded is an environment of which only the directory is known.
func (e *Executor) unrecorded(ref executor.Ref) *environment {
	return &environment{e: e, b: &blueprint{Ref: ref}, dir: e.dir(ref), log: e.log.With("ref", ref.String())}
}

// isID reports whether name is the ID of an executor.Ref.
func isID(name string) bool {
	raw, err := hex.DecodeString(name)
	return err == nil && len(raw) == 8
}

// isRemains reports whether a directory, whose record cannot be read, is that of an environment of this executor.
func isRemains(dir string) bool {
	if !isID(filepath.Base(dir)) {
		return false
	}
	for _, name := range []string{"ref", "place"} { // the shell executor's, in the same directory
		if _, err := os.Lstat(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
			return false
		}
	}
	return true
}
