package volumes

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// ImagePin is the beginning of names of pins that seeding makes.
const ImagePin = "nix-"

// Root makes the link that holds a path.
func Root(dir, base string) error {
	err := os.Symlink(StoreDir+"/"+base, filepath.Join(dir, base))
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// RootsIn lists the store paths that the links in a directory hold.
func RootsIn(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	paths := []string{}
	for _, e := range entries {
		if IsStoreName(e.Name()) {
			paths = append(paths, StoreDir+"/"+e.Name())
		}
	}
	return paths, nil
}

// Retire moves the links of a directory to recent, and removes it.
func Retire(l Layout, dir string, now time.Time) (int, error) {
	paths, err := RootsIn(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	hour := l.Hour(now)
	if err := os.MkdirAll(hour, 0o755); err != nil {
		return 0, err
	}
	for _, p := range paths {
		b := filepath.Base(p)
		if err := os.Rename(filepath.Join(dir, b), filepath.Join(hour, b)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return 0, err
		}
	}
	return len(paths), os.RemoveAll(dir)
}
