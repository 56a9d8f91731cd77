package sources

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// takeBack makes the work tree and .git this user's: an earlier job's may have got them (stage.Own), and git obeys
// no repository that belongs to somebody else. With the strategy clone they get the modes of new directories, too.
func (g *repository) takeBack() error {
	if !g.r.Spec.Mixed || os.Geteuid() != 0 {
		return nil
	}
	for _, dir := range []string{g.dir, g.gitDir} {
		if err := takeBack(dir, g.s.Strategy == "clone"); err != nil {
			return err
		}
	}
	return nil
}

func takeBack(dir string, anew bool) error {
	f, err := os.OpenFile(dir, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	err = f.Chown(os.Geteuid(), os.Getegid())
	if mask, ok := umask(); anew && err == nil && ok {
		err = f.Chmod(0o777 &^ mask)
	}
	return errors.Join(err, f.Close())
}

// umask is the process's, where the system tells it (Linux 4.7).
func umask() (os.FileMode, bool) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(status)) {
		if text, ok := strings.CutPrefix(line, "Umask:"); ok {
			mask, err := strconv.ParseUint(strings.TrimSpace(text), 8, 32)
			return os.FileMode(mask), err == nil
		}
	}
	return 0, false
}
