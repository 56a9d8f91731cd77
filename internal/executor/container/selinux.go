package container

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// shareLabel is the label that processes of every container may read and write, as the mount option z gives it.
const shareLabel = "system_u:object_r:container_file_t:s0"

// relabel gives directories of ours, with what is in them, the label that containers need where SELinux is
// enforced. The engines do it only for mounts that may make what is missing.
func relabel(log *slog.Logger, dirs ...string) {
	mode, err := os.ReadFile("/sys/fs/selinux/enforce")
	if err != nil || !strings.HasPrefix(string(mode), "1") {
		return
	}
	for _, dir := range dirs {
		paths := []string{dir}
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			paths = append(paths, filepath.Join(dir, e.Name()))
		}
		for _, p := range paths {
			if err := unix.Lsetxattr(p, "security.selinux", []byte(shareLabel+"\x00"), 0); err != nil {
				log.Warn("A directory could not be given the SELinux label that containers need; jobs will fail if the policy forbids it", "path", p, "error", err)
				return
			}
		}
	}
}
