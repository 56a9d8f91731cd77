package volumes

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Sweep removes what a killed daemon has left: nothing else runs in the volumes now.
func Sweep(l Layout) {
	sweepState(l)
	_ = sweepStore(l) // it only takes room
}

// sweepState removes what is left beside the store, where there is little to look through.
func sweepState(l Layout) {
	all := ""
	for dir, beginnings := range map[string][]string{
		l.State() + "/temproots": {all}, l.State() + "/gc-socket": {all}, l.State() + "/builds": {all}, l.Root + "/tmp": {"nix-build-"},
	} {
		_ = removeFrom(dir, beginnings) // it only takes room
	}
}

// sweepStore removes what is left in the store. That takes the longer the more paths there are.
func sweepStore(l Layout) error {
	return removeFrom(l.Store(), []string{"tmp-", "add-", ".tmp-link", SeedPrefix})
}

// sweepFormat changes with what sweepStore removes.
const sweepFormat = 1

// clean is the file that says that nothing is left in the store, and under which circumstances that is so.
func (l Layout) clean() string { return l.Memory() + "/clean" }

// Begin sweeps before a daemon of an image starts. The store is left out where End has said that it is clean, which nobody
// says any more when Begin has returned. boot names this boot of the machine: the file system may have forgotten what
// happened last before the machine lost power, and with it that something was begun.
func Begin(l Layout, image, boot string) error {
	said, err := os.ReadFile(l.clean())
	if err := Disturb(l); err != nil {
		return err
	}
	sweepState(l)
	if err != nil || boot == "" || string(said) != circumstances(image, boot) {
		_ = sweepStore(l) // it only takes room
	}
	return nil
}

// Disturb says before something is written to the store that it may not be clean any more.
func Disturb(l Layout) error {
	if err := os.Remove(l.clean()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("say that the store may not be clean any more: %w", err)
	}
	return nil
}

// End sweeps after the daemon and all that it had started have ended, and says that the store is clean if it is.
func End(l Layout, image, boot string) error {
	sweepState(l)
	if err := sweepStore(l); err != nil {
		return fmt.Errorf("remove what is left in the store: %w", err)
	}
	if boot == "" {
		return nil
	}
	return Write(l.clean(), 0o644, []byte(circumstances(image, boot)))
}

func circumstances(image, boot string) string {
	return fmt.Sprintf("%d %q %q\n", sweepFormat, image, boot)
}

// removeFrom removes from a directory all whose name begins with one of some words. The error says what is still there.
func removeFrom(dir string, words []string) error {
	names, err := beginning(dir, words)
	for _, name := range names {
		err = errors.Join(err, RemoveAll(filepath.Join(dir, name)))
	}
	return err
}

// beginning lists the names in a directory that begin with one of some words. It reads the directory once and sorts nothing:
// a store has hundreds of thousands, and a job may wait.
func beginning(dir string, words []string) (found []string, err error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	for {
		names, err := d.Readdirnames(4096)
		for _, name := range names {
			if slices.ContainsFunc(words, func(w string) bool { return strings.HasPrefix(name, w) }) {
				found = append(found, name)
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return found, nil
		case err != nil:
			return found, err
		}
	}
}
