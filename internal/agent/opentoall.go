package agent

import (
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// openToAll lets everybody write a directory, as GitLab Runner does with the volumes that it makes: which user the
// job's image has is not known yet. No link is followed, since a job may have put one above the directory.
func openToAll(path string) error {
	fd, err := unix.Openat2(unix.AT_FDCWD, path, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_NO_SYMLINKS,
	})
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	dir := os.NewFile(uintptr(fd), path)
	defer dir.Close()
	info, err := dir.Stat()
	if err == nil && info.Mode().Perm() != fs.ModePerm {
		err = dir.Chmod(info.Mode()&fs.ModeSticky | fs.ModePerm)
	}
	if err != nil {
		return fmt.Errorf("open %s to everybody: %w", path, err)
	}
	return nil
}
